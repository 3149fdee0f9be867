import type { RunConfig } from '../../config/keys.js';
import type { OptimiserSettings } from './types.js';

export const optimiserSettings = (c: Pick<RunConfig, 'sgd_momentum'>): OptimiserSettings => ({ momentum: c.sgd_momentum });
