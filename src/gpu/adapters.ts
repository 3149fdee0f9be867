import { create } from 'webgpu';
import { EdpoError } from '../errors.js';
import { oneOfAlike } from './identical_cards.js';
import { unpackSwiftShader, useEmbeddedVulkan } from './swiftshader.js';
import { toggleList, type ToggleSet } from './toggles.js';

/** Which kind of adapter answered; everything but `hardware` runs on the processor. */
export type AdapterKind = 'hardware' | 'software' | 'embedded';

// Dropped while a device lives, Dawn's instance takes the process down now and then: kept for ever.
const keptAlive: unknown[] = [];

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software/i;
const isSoftware = (info: GPUAdapterInfo): boolean => SOFTWARE.test(`${info.description} ${info.device} ${info.architecture} ${info.vendor}`);

async function ask(toggles: ToggleSet, name?: string): Promise<GPUAdapter | null> {
  const { enable, disable } = toggleList(toggles);
  const flags = [`enable-dawn-features=${enable.join(',')}`, `disable-dawn-features=${disable.join(',')}`];
  if (process.platform === 'linux') flags.push('backend=vulkan');
  if (name) flags.push(`adapter=${name}`);
  const gpu = create(flags);
  keptAlive.push(gpu);
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) keptAlive.push(adapter);
  return adapter;
}

const request = (toggles: ToggleSet, name?: string): Promise<GPUAdapter | null> => ask(toggles, name).catch(() => null);

/** No adapter is called this. */
const NOBODY = '(none of them)';

/** Names of all adapters the system's drivers offer, in Dawn's order; cards that are alike each have a line. The embedded SwiftShader is not among them. */
export async function adapterNames(): Promise<string[]> {
  if (!systemHasLoader()) return [];
  try {
    await ask('production', NOBODY);
    return [];
  } catch (error) {
    // Dawn's binding lists them for a name that none has.
    return [...String((error as Error).message).matchAll(/backend: '(\w+)', name: '(.*)'$/gm)].filter(([, backend]) => process.platform !== 'linux' || backend === 'vulkan').map(([, , name]) => name!);
  }
}

/** What `adapter` takes for each of these names, in order: the name, with its number among equals where there are several. */
export const adapterChoices = (names: string[]): string[] =>
  names.map((name, i) => (names.filter((n) => n.includes(name)).length > 1 ? `${name}@${names.slice(0, i).filter((n) => n.includes(name)).length}` : name));

/** The hardware adapters of this machine as `adapter` takes them. */
export const hardwareAdapters = async (): Promise<string[]> => {
  const names = await adapterNames();
  return adapterChoices(names).filter((_, i) => !SOFTWARE.test(names[i]!));
};

async function embedded(toggles: ToggleSet): Promise<GPUAdapter | null> {
  const found = await unpackSwiftShader();
  if (!found) return null;
  useEmbeddedVulkan(found);
  return request(toggles);
}

/**
 * Is there a Vulkan loader? Asked before Dawn tries, which complains on stderr. Opening it "fails" either way, since it is no Node
 * module; the message tells whether it was found.
 */
function systemHasLoader(): boolean {
  if (process.platform !== 'linux') return true;
  try {
    process.dlopen({ exports: {} }, 'libvulkan.so.1');
  } catch (error) {
    return !/cannot open shared object file/.test((error as Error).message);
  }
  return true;
}

const kindOf = (adapter: GPUAdapter): AdapterKind => (isSoftware(adapter.info) ? 'software' : 'hardware');
const refusal = (what: string, names: string[], hint = 'edpo doctor lists what is reachable; --adapter auto takes the best'): EdpoError =>
  new EdpoError(`${what}; this machine offers ${names.length === 0 ? 'none' : names.map((n) => `"${n}"`).join(', ')}`, { hint, exitCode: 2 });

/** `NAME@i`: the i-th (from 0) of the adapters whose names contain NAME, also where their names are one. */
async function numbered(want: string, part: string, i: number, toggles: ToggleSet): Promise<GPUAdapter> {
  const names = await adapterNames();
  const named = names.filter((n) => n.includes(part));
  const name = named[i];
  if (name === undefined) throw refusal(`no adapter ${want}: ${named.length === 0 ? 'no' : named.length} name${named.length === 1 ? ' contains' : 's contain'} "${part}"`, names, 'NAME@i counts from 0');
  const [alike, place] = [named.filter((n) => n === name).length, named.slice(0, i).filter((n) => n === name).length];
  let adapter = await request(toggles, name);
  if (adapter && alike > 1) {
    const one = oneOfAlike(adapter.info.vendor, alike, place);
    if (typeof one === 'string') throw refusal(`adapter ${want}: ${alike} adapters are called "${name}", and they cannot be told apart: ${one}`, names, 'take one of them by its name alone; a container or a job with one card each also keeps them apart');
    Object.assign(process.env, one);
    const left = (await adapterNames()).filter((n) => n === name).length;
    if (left !== 1) throw refusal(`adapter ${want}: DRI_PRIME=${one.DRI_PRIME} should leave one "${name}", and ${left} are left`, names, 'Mesa’s device-select layer is not in effect (VK_LOADER_DEBUG=layer shows why)');
    adapter = await request(toggles, name);
  }
  // Dawn takes the first whose name contains what it is given; "RTX 3080" is part of "RTX 3080 Ti".
  if (!adapter || adapter.info.device !== slug(name)) throw refusal(`adapter ${want} did not answer${adapter ? `, but "${adapter.info.device}"` : ''}`, names);
  return adapter;
}

/** A device's name as GPUAdapterInfo gives it. */
const slug = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]+/g, '-');

/** Finds an adapter: hardware, then a software driver of the system, then the embedded SwiftShader (design 7). */
export async function findAdapter(want: string, toggles: ToggleSet): Promise<{ adapter: GPUAdapter; kind: AdapterKind }> {
  if (want === 'swiftshader') {
    const adapter = await embedded(toggles);
    if (adapter) return { adapter, kind: 'embedded' };
  } else if (want === 'auto' || want === 'software') {
    let adapter = systemHasLoader() ? await request(toggles) : null;
    if (adapter && want === 'software' && !isSoftware(adapter.info)) adapter = await request(toggles, 'llvmpipe');
    if (adapter) return { adapter, kind: kindOf(adapter) };
    adapter = await embedded(toggles);
    if (adapter) return { adapter, kind: 'embedded' };
  } else {
    const loader = systemHasLoader();
    const adapter = loader ? await request(toggles, want) : null;
    if (adapter) return { adapter, kind: kindOf(adapter) };
    const [, part, i] = /^(.*)@(\d+)$/.exec(want) ?? [];
    if (loader && part !== undefined) {
      const found = await numbered(want, part, Number(i), toggles);
      return { adapter: found, kind: kindOf(found) };
    }
    throw refusal(`no adapter whose name contains "${want}"`, loader ? await adapterNames() : []);
  }
  throw new EdpoError(
    `no WebGPU adapter (asked for: ${want}): no Vulkan driver answered, and the embedded software adapter is not installed`,
    { hint: 'npm install @sparticuz/chromium@143.0.4 brings one; edpo doctor says more', exitCode: 2 },
  );
}
