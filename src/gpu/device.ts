import { globals } from 'webgpu';
import { EdpoError } from '../errors.js';
import { findAdapter, type AdapterKind } from './adapters.js';
import { Compilation } from './compilation.js';
import type { MatrixTile } from './matrices.js';
import { openGpus } from './open.js';
import type { PlainTile } from './ops/matmul_tiled.js';
import { pathsOff, type FusedPath } from './paths.js';
import type { ToggleSet } from './toggles.js';
import { readTuned, type Tuned } from './tuned.js';

Object.assign(globalThis, globals);

export type { AdapterKind, ToggleSet };

export interface GpuOptions {
  /** auto | software | swiftshader | part of an adapter's name | NAME@i: the i-th (from 0) of those whose name contains NAME. */
  adapter?: string;
  toggles?: ToggleSet;
  /** Upper bound for one piece of a vocabulary table, in bytes; 0 = the adapter's binding limit. */
  tableSplitBytes?: number;
}

/** Forms of plain f32 products (ops/matmul.ts). */
export const PLAIN_FORMS = ['tiled', 'lanes', 'patches'] as const;
export type PlainForm = (typeof PLAIN_FORMS)[number];

export interface GpuLimits {
  bindingBytes: number;
  bufferBytes: number;
  /** Largest piece of a vocabulary table. */
  tableSplitBytes: number;
  storageBuffers: number;
  workgroupInvocations: number;
  workgroupBytes: number;
}

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
  /** The form of plain products, and its tile, where it is not to be this adapter's usual one (tests, benchmarks, EDPO_PRODUCTS). */
  products: { form: PlainForm; tile?: PlainTile } | undefined;
  /** Fused paths that programs recorded from now on do without. */
  without: Set<FusedPath> = new Set();
  /** Tiles that `edpo doctor --tune` found faster here; `tuneProblem` where its file is broken. */
  tuned: Tuned | undefined;
  tuneProblem: string | undefined;
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
  /** "vendor architecture device", without the driver: what caches and tuned tiles are kept by. */
  get card(): string {
    const { vendor, architecture, device } = this.info;
    return `${vendor} ${architecture} ${device}`.trim();
  }
  /** Whether what is recorded may take this path. */
  uses(path: FusedPath): boolean {
    return !this.without.has(path);
  }
  get subgroups(): boolean {
    return this.features.has('subgroups');
  }
  /** Largest subgroup size (1 where the adapter has no subgroups). */
  get subgroupMax(): number {
    return this.subgroups ? (this.info.subgroupMaxSize ?? 32) : 1;
  }
  /** The most lanes that sum a row (lib/rows): a subgroup's, or 1. */
  get rowLanes(): number {
    return this.uses('subgroup_sums') ? this.subgroupMax : 1;
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
  const gpu = new Gpu(device, adapter, kind, toggles, {
    bindingBytes,
    bufferBytes: limits.maxBufferSize,
    tableSplitBytes: Math.min(asked, bindingBytes),
    storageBuffers: limits.maxStorageBuffersPerShaderStage,
    workgroupInvocations: limits.maxComputeInvocationsPerWorkgroup,
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
  }, new Set(features));
  const form = process.env['EDPO_PRODUCTS'];
  if (form !== undefined && !PLAIN_FORMS.some((f) => f === form)) throw new EdpoError(`EDPO_PRODUCTS is "${form}"; expected ${PLAIN_FORMS.join(', ')}`, { exitCode: 2 });
  if (form !== undefined) gpu.products = { form: form as PlainForm };
  gpu.without = pathsOff(process.env['EDPO_WITHOUT']);
  const { tuned, problem } = readTuned(gpu);
  gpu.tuned = tuned;
  gpu.tuneProblem = problem;
  return gpu;
}
