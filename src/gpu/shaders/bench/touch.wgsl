// The least a dispatch can do: one thread, one word. Each waits for the one before it where they write the same buffer.
@compute @workgroup_size(1)
fn ENTRY() {
  if (args.store == 1u) { out[0] = x[0]; }
}
