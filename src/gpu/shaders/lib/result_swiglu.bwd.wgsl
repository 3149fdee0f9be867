// Four columns of a result dh of matmul.matrix as what SwiGLU's backward pass makes of it: dgate = dh * up * act'(gate) under `slot`, dup = dh * act(gate) under `slot_up`,
// with ACT also h = act(gate) * up under `slot_act`: operands, zero up to the tiles' edges. dh itself is not stored. With MEASURE the gradients' magnitudes alone are watched.
// #use lib/packed_rows
// #use lib/gate
var<private> peak_gate: u32;
var<private> peak_up: u32;
fn in_y(row: u32, col: u32) -> bool { return row < args.M && col < args.I; }
fn start(row: u32, col: u32) -> vec4f {
  if (in_y(row, col)) { return gate[(row * args.I + col) / 4u]; }
  return vec4f();
}
fn put(row: u32, col: u32, part: u32, start: vec4f, alpha: f32, at: u32) {
  var dg = vec4f();
  var du = vec4f();
  var h = vec4f();
  if (in_y(row, col)) {
    let d = alpha * bitcast<vec4f>(tiles[at]);
    let u = up[(row * args.I + col) / 4u];
    let value = gate_value4(start);
    dg = d * u * gate_slope4(start);
    du = d * value;
    h = value * u;
  }
  peak_gate = max(peak_gate, magnitude4(dg));
  peak_up = max(peak_up, magnitude4(du));
  // #for m STORE
  let i = 2u * packed_at(row, col / 8u) + col / 4u % 2u;
  packed_gate[i] = halves(dg * scales[args.slot]);
  packed_up[i] = halves(du * scales[args.slot_up]);
  // #for a ACT
  packed_act[i] = halves(h * scales[args.slot_act]);
  // #end
  // #end
}
fn finish() {
  watch(peak_gate);
  watch_at(args.slot_up, peak_up);
}
