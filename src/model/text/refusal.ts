import { InputError } from '../../errors.js';

/** A text or dialogue that cannot be used; the fault of one row of data, which a reader may leave out and count. */
export class TextRefusal extends InputError {
  /** @param reason the message without what differs from row to row, for counting. */
  constructor(message: string, readonly reason: string, hint?: string, cause?: unknown) {
    super(message, hint, cause);
  }
}
