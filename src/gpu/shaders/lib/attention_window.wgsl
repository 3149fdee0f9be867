// Is a key at position `at` too far behind query row i?
fn hidden_by_window(i: u32, at: u32) -> bool {
  return args.window > 0u && position[i] - at >= args.window;
}
