import { create, globals } from 'webgpu';
import { EdpoError } from '../errors.js';
import { Compilation } from './compilation.js';
import type { MatrixTile } from './matrices.js';
import { openGpus } from './open.js';
import { unpackSwiftShader, useEmbeddedVulkan } from './swiftshader.js';

Object.assign(globalThis, globals);

/** Which kind of adapter answered; everything but `hardware` runs on the processor. */
export type AdapterKind = 'hardware' | 'software' | 'embedded';
/** `production` drops Dawn's validation and bounds checks; `checked` keeps them (tests, doctor). */
export type ToggleSet = 'production' | 'checked';

export interface GpuOptions {
  /** auto | software | swiftshader | part of an adapter's name. */
  adapter?: string;
  toggles?: ToggleSet;
  /** Upper bound for one piece of a vocabulary table, in bytes; 0 = the adapter's binding limit. */
  tableSplitBytes?: number;
}

export interface GpuLimits {
  bindingBytes: number;
  bufferBytes: number;
  /** Largest piece of a vocabulary table. */
  tableSplitBytes: number;
  storageBuffers: number;
  workgroupInvocations: number;
  workgroupBytes: number;
}

const ENABLE: Record<ToggleSet, string[]> = {
  production: [
    'allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'disable_workgroup_init', 'disable_robustness',
    'disable_polyfills_on_integer_div_and_mod', 'skip_validation',
  ],
  checked: ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'disable_workgroup_init'],
};
const DISABLE: Record<ToggleSet, string[]> = {
  production: ['lazy_clear_resource_on_first_use', 'timestamp_quantization'],
  checked: ['timestamp_quantization'],
};

/** The toggles a device is made with, as Dawn names them. */
export const toggleList = (set: ToggleSet): { enable: string[]; disable: string[] } => ({
  enable: ENABLE[set],
  disable: DISABLE[set],
});

// Dropped while a device lives, Dawn's instance takes the process down now and then: kept for ever.
const keptAlive: unknown[] = [];

const FEATURES = ['subgroups', 'subgroup-size-control', 'shader-f16', 'timestamp-query', 'chromium-experimental-subgroup-matrix'] as const;

/** A device with what the rest of edpo asks of it. Made by `openGpu`. */
export class Gpu {
  readonly buffers = new Set<GPUBuffer>();
  /** Bytes of all buffers alive, and the most there ever were. */
  bytesNow = 0;
  bytesPeak = 0;
  /** Set when Dawn reports an error that no call returned; raised by the next `check()`. */
  private failure: EdpoError | undefined;
  private closing = false;
  lost = false;
  /** Mixed precision: products with weights run in these f16 matrices (`dtype: mixed_f16`). */
  mixed: MatrixTile | undefined;
  readonly pipelines = new Map<string, unknown>();
  readonly compilation = new Compilation();

  constructor(
    readonly device: GPUDevice,
    readonly adapter: GPUAdapter,
    readonly kind: AdapterKind,
    readonly toggles: ToggleSet,
    readonly limits: GpuLimits,
    readonly features: ReadonlySet<string>,
  ) {
    openGpus.add(this);
    device.addEventListener('uncapturederror', (event) => {
      this.failure ??= new EdpoError(`the GPU refused a command: ${(event as GPUUncapturedErrorEvent).error.message}`);
    });
    void device.lost.then((info) => {
      if (this.closing) return;
      this.lost = true;
      this.failure = new EdpoError(`the GPU device was lost: ${info.message || info.reason}`, {
        hint: 'continue with the same command and --resume',
      });
    });
  }

  get info(): GPUAdapterInfo {
    return this.adapter.info;
  }
  /** "vendor architecture: description", for people and for cache headers. */
  get name(): string {
    const { vendor, architecture, description, device } = this.info;
    return [vendor, architecture, description || device].filter(Boolean).join(' ');
  }
  get subgroups(): boolean {
    return this.features.has('subgroups');
  }
  /** Largest subgroup size (1 where the adapter has no subgroups). */
  get subgroupMax(): number {
    return this.subgroups ? (this.info.subgroupMaxSize ?? 32) : 1;
  }
  get subgroupMin(): number {
    return this.subgroups ? (this.info.subgroupMinSize ?? 4) : 1;
  }

  createBuffer(label: string, bytes: number, usage?: number): GPUBuffer {
    const size = Math.ceil(bytes / 16) * 16;
    const buffer = this.device.createBuffer({
      label,
      size,
      usage: usage ?? GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.buffers.add(buffer);
    this.bytesNow += size;
    this.bytesPeak = Math.max(this.bytesPeak, this.bytesNow);
    return buffer;
  }

  destroyBuffer(buffer: GPUBuffer, _bytes?: number): void {
    if (!this.buffers.delete(buffer)) return;
    this.bytesNow -= buffer.size;
    buffer.destroy();
  }

  /** Throws what Dawn reported since the last call: validation, out of memory, device lost. */
  check(): void {
    if (this.failure) throw this.failure;
  }

  /** Makes the device fail as if the driver had dropped it (fault switch of the tests). */
  loseForTest(): void {
    this.lost = true;
    this.failure = new EdpoError('the GPU device was lost: forced by EDPO_FAULT', {
      hint: 'continue with the same command and --resume',
    });
    this.closing = true;
    this.device.destroy();
  }

  close(): void {
    if (!openGpus.delete(this)) return;
    this.closing = true;
    for (const buffer of this.buffers) buffer.destroy();
    this.buffers.clear();
    this.device.destroy();
  }
}

const isSoftware = (info: GPUAdapterInfo): boolean =>
  /swiftshader|llvmpipe|lavapipe|software/i.test(`${info.description} ${info.device} ${info.architecture} ${info.vendor}`);

async function request(toggles: ToggleSet, name?: string): Promise<GPUAdapter | null> {
  const flags = [
    `enable-dawn-features=${ENABLE[toggles].join(',')}`,
    `disable-dawn-features=${DISABLE[toggles].join(',')}`,
  ];
  if (process.platform === 'linux') flags.push('backend=vulkan');
  if (name) flags.push(`adapter=${name}`);
  const gpu = create(flags);
  keptAlive.push(gpu);
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch {
    adapter = null;
  }
  if (adapter) keptAlive.push(adapter);
  return adapter;
}

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

/** Finds an adapter: hardware, then a software driver of the system, then the embedded SwiftShader (design 7). */
async function findAdapter(want: string, toggles: ToggleSet): Promise<{ adapter: GPUAdapter; kind: AdapterKind }> {
  if (want === 'swiftshader') {
    const adapter = await embedded(toggles);
    if (adapter) return { adapter, kind: 'embedded' };
  } else if (want === 'auto' || want === 'software') {
    let adapter = systemHasLoader() ? await request(toggles) : null;
    if (adapter && want === 'software' && !isSoftware(adapter.info)) adapter = await request(toggles, 'llvmpipe');
    if (adapter) return { adapter, kind: isSoftware(adapter.info) ? 'software' : 'hardware' };
    adapter = await embedded(toggles);
    if (adapter) return { adapter, kind: 'embedded' };
  } else {
    const loader = systemHasLoader();
    const adapter = loader ? await request(toggles, want) : null;
    if (adapter) return { adapter, kind: isSoftware(adapter.info) ? 'software' : 'hardware' };
    const first = loader ? await request(toggles) : null;
    throw new EdpoError(
      `no adapter whose name contains "${want}"${first ? `; this machine offers "${first.info.description || first.info.device}"` : ''}`,
      { hint: 'edpo doctor lists what is reachable; --adapter auto takes the best', exitCode: 2 },
    );
  }
  throw new EdpoError(
    `no WebGPU adapter (asked for: ${want}): no Vulkan driver answered, and the embedded software adapter is not installed`,
    { hint: 'npm install @sparticuz/chromium@143.0.4 brings one; edpo doctor says more', exitCode: 2 },
  );
}

/** Opens the device with the adapter's own limits. Throws EdpoError where no adapter answers. */
export async function openGpu(options: GpuOptions = {}): Promise<Gpu> {
  const toggles = options.toggles ?? (process.env['EDPO_TOGGLES'] as ToggleSet | undefined) ?? 'production';
  // "auto" asks for nothing, so the environment may.
  const want = (options.adapter === 'auto' ? undefined : options.adapter) ?? process.env['EDPO_ADAPTER'] ?? 'auto';
  const { adapter, kind } = await findAdapter(want, toggles);
  const features = FEATURES.filter((f) => adapter.features.has(f as GPUFeatureName));
  const limits = adapter.limits;
  const device = await adapter.requestDevice({
    label: 'edpo',
    requiredFeatures: features as unknown as GPUFeatureName[],
    requiredLimits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    },
  });
  const bindingBytes = Math.floor(Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize) / 16) * 16;
  const asked = options.tableSplitBytes || Number(process.env['EDPO_TABLE_SPLIT'] ?? 0) || bindingBytes;
  return new Gpu(device, adapter, kind, toggles, {
    bindingBytes,
    bufferBytes: limits.maxBufferSize,
    tableSplitBytes: Math.min(asked, bindingBytes),
    storageBuffers: limits.maxStorageBuffersPerShaderStage,
    workgroupInvocations: limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  }, new Set(features));
}
