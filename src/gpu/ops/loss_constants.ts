import type { LossDefinition, LossSettings } from '../../model/losses/types.js';

/** A loss's numeric keys as the constants F_<key> that its WGSL reads: the run's values, else the loss's defaults. */
export const lossConstants = (loss: LossDefinition, settings: LossSettings): string[] =>
  Object.keys(loss.params).map((key) => `const F_${key} = f32(${settings.params[key] ?? loss.params[key]!.default});`);
