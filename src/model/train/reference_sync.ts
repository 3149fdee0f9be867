import { mix } from '../../gpu/ops/mix.js';
import { Program } from '../../gpu/program.js';
import { InputError } from '../../errors.js';
import type { Parameters } from '../parameters.js';

/**
 * TR-DPO (Gorbatovski et al. 2024, arXiv 2404.09656): every `every` optimiser steps θ_ref ← α θ + (1 − α) θ_ref. α = 1 is the hard update
 * (TR-DPO^τ), α < 1 the soft one (TR-DPO^α).
 */
export class ReferenceSync {
  private readonly program: Program;

  /** Throws InputError where the two models are not of one shape. @param after records what follows a move (f16 copies) */
  constructor(policy: Parameters, readonly reference: Parameters, alpha: number, readonly every: number, after?: (p: Program) => void) {
    const shapes = (p: Parameters): string => p.list.map(({ name, shape }) => `${name} ${shape.join('x')}`).join();
    if (shapes(policy) !== shapes(reference)) throw new InputError('sync_ref_model mixes the policy’s weights into the reference’s, and these two models have different tensors', 'a reference of the policy’s own architecture');
    this.program = new Program(policy.gpu, 'reference sync');
    policy.pieces.forEach((piece, i) => mix(this.program, { x: piece.value, y: reference.pieces[i]!.value }, alpha));
    after?.(this.program);
  }

  async ready(): Promise<this> {
    await this.program.ready();
    return this;
  }

  /** Called when step `done` (from 1) is submitted: what is submitted next sees the new reference. */
  after(done: number): void {
    if (done % this.every !== 0) return;
    const { device } = this.reference.gpu;
    const encoder = device.createCommandEncoder({ label: 'reference sync' });
    this.program.encode(encoder, {});
    device.queue.submit([encoder.finish()]);
  }
}
