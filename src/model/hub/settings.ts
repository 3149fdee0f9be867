import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../../errors.js';

/** How the hub is reached: the environment's variables of Hugging Face's own tools. */
export interface HubSettings {
  /** HF_ENDPOINT, without a slash at its end. */
  endpoint: string;
  /** HF_TOKEN, or what `hf auth login` stored. Never printed. */
  token: string | undefined;
  offline: boolean;
  /** Silence after which an answer (a piece of a file) counts as lost, ms: HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT. */
  answerMs: number;
  pieceMs: number;
}

const isOn = (text: string | undefined): boolean => /^(1|on|yes|true)$/i.test(text ?? '');
const seconds = (name: string): number => {
  const value = Number(process.env[name] || 10);
  if (!(value > 0)) throw new InputError(`${name}: expected seconds > 0, got ${JSON.stringify(process.env[name])}`, `unset ${name}`);
  return value * 1000;
};

export function hubSettings(offline: boolean): HubSettings {
  const endpoint = (process.env['HF_ENDPOINT'] || 'https://huggingface.co').replace(/\/+$/, '');
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint)) throw new InputError(`HF_ENDPOINT: expected http(s)://HOST, got ${JSON.stringify(endpoint)}`, 'unset HF_ENDPOINT');
  return {
    endpoint, token: token(), offline: offline || isOn(process.env['HF_HUB_OFFLINE']),
    answerMs: seconds('HF_HUB_ETAG_TIMEOUT'), pieceMs: seconds('HF_HUB_DOWNLOAD_TIMEOUT'),
  };
}

const home = (): string => process.env['HF_HOME'] || join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'huggingface');

/** Where Hugging Face's tools keep what they download; an empty variable counts as unset. */
export const hubCache = (): string => process.env['HF_HUB_CACHE'] || process.env['HUGGINGFACE_HUB_CACHE'] || join(home(), 'hub');

function token(): string | undefined {
  const given = (process.env['HF_TOKEN'] ?? process.env['HUGGING_FACE_HUB_TOKEN'])?.trim();
  if (given) {
    if (/[^\x21-\x7e]/.test(given)) throw new InputError('HF_TOKEN holds characters that no token has (a space, a line break?)', 'copy it again from the settings page of the hub');
    return given;
  }
  if (isOn(process.env['HF_HUB_DISABLE_IMPLICIT_TOKEN'])) return undefined;
  try {
    return readFileSync(process.env['HF_TOKEN_PATH'] || join(home(), 'token'), 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}
