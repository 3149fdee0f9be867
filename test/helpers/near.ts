import type { Test } from 'tap';

/** Asserts |got - want| <= tolerance; the message says by how much it is off. */
export const near = (t: Test, got: number, want: number, tolerance: number, what: string): void =>
  void t.ok(Math.abs(got - want) <= tolerance, `${what}: ${got} is ${want} to ${tolerance} (off by ${Math.abs(got - want)})`);
