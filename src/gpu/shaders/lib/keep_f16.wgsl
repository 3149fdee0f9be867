// Keeps a tile of logits for the backward pass (ops/kept_tiles.ts): d = f - top in f16, and the top of each FOLD columns behind.   kept [S,KW], rows of whole vec2s.
fn keep(row: u32, v: u32, d: vec4f) {
  let x = max(d, vec4f(-6e4));
  kept[row * (args.KW / 2u) + v / 4u] = vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw));
}
fn keep_top(row: u32, b: u32, top: f32) {
  let fold = b / FOLD;
  kept[row * (args.KW / 2u) + args.fours + fold / 2u][fold % 2u] = bitcast<u32>(top);
}
