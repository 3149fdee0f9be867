import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** A graphics card on the PCI bus: `0000:65:00.0`, vendor and device as the kernel writes them (`0x10de`). */
export interface PciCard {
  address: string;
  vendor: string;
  device: string;
}

/** PCI vendors by WebGPU's names for them. */
const VENDORS: Record<string, string> = { nvidia: '0x10de', amd: '0x1002', intel: '0x8086' };

/** Display controllers (class 03), by address. `root`: another tree than the kernel's, for tests. */
export function pciCards(root = '/sys/bus/pci/devices'): PciCard[] {
  const read = (address: string, file: string): string => readFileSync(join(root, address, file), 'utf8').trim();
  const addresses = existsSync(root) ? readdirSync(root).sort() : [];
  return addresses.flatMap((address) => {
    try {
      return read(address, 'class').startsWith('0x03') ? [{ address, vendor: read(address, 'vendor'), device: read(address, 'device') }] : [];
    } catch {
      return []; // gone since, or not to be read here
    }
  });
}

/** Folders the Vulkan loader looks for implicit layers in (its documentation, LoaderLayerInterface). */
function layerFolders(env: NodeJS.ProcessEnv): string[] {
  const paths = (v: string | undefined): string[] => (v ? v.split(':').filter(Boolean) : []);
  if (env['VK_IMPLICIT_LAYER_PATH']) return paths(env['VK_IMPLICIT_LAYER_PATH']);
  const data = [env['XDG_DATA_HOME'] || join(homedir(), '.local/share'), '/etc', ...(env['XDG_DATA_DIRS'] ? paths(env['XDG_DATA_DIRS']) : ['/usr/local/share', '/usr/share'])];
  return [...paths(env['VK_ADD_IMPLICIT_LAYER_PATH']), ...data.map((d) => join(d, 'vulkan/implicit_layer.d'))];
}

/** Is Mesa's device-select layer installed, and not switched off? It serves every driver's cards. */
export function hasDeviceSelectLayer(env: NodeJS.ProcessEnv = process.env): boolean {
  if (env['NODEVICE_SELECT'] || /~all~|~implicit~|device_select/i.test(env['VK_LOADER_LAYERS_DISABLE'] ?? '')) return false;
  return layerFolders(env).some((d) => existsSync(d) && readdirSync(d).some((f) => /device_select.*\.json$/i.test(f)));
}

/**
 * What makes Vulkan show this process card i of `count` alike ones and no other: `DRI_PRIME` for Mesa's device-select layer ("!": only that one), by
 * the cards' places on the PCI bus, in rising order. Or why that cannot be done.
 * @param vendor as WebGPU names it
 */
export function oneOfAlike(vendor: string, count: number, i: number, o: { cards?: PciCard[]; layer?: boolean } = {}): { DRI_PRIME: string } | string {
  const own = (o.cards ?? pciCards()).filter((c) => c.vendor === VENDORS[vendor]);
  const models = [...new Set(own.map((c) => c.device))].map((device) => own.filter((c) => c.device === device)).filter((alike) => alike.length === count);
  if (models.length === 0) return `no ${count} cards of one model from vendor "${vendor}" are on this machine’s PCI bus`;
  if (models.length > 1) return `there are ${models.length} models with ${count} cards each from vendor "${vendor}", and Vulkan’s names do not say which these are`;
  if (!(o.layer ?? hasDeviceSelectLayer())) return 'telling them apart takes Mesa’s device-select layer for Vulkan, which is not installed (Debian and Ubuntu: apt install mesa-vulkan-drivers) or switched off';
  return { DRI_PRIME: `pci-${models[0]![i]!.address.replace(/[:.]/g, '_')}!` };
}
