/** Finds an adapter and opens a device with all it can do. */
import { NoDeviceError } from "../errors.js";
import { chooseSoftwareDriver, dawn, isNode, mayHaveDriver } from "./dawn.js";

export type OptionalFeature = "f16" | "subgroups" | "subgroupMatrix" | "integerDots" | "timestamps";

export interface WebGpuOptions {
  /** Take a software adapter where there is no other. Default false. */
  readonly allowSoftware?: boolean;
  /** Checks each launch in a validation scope of its own, and hands it over at once. Slow. */
  readonly debug?: boolean;
  /** Features to do without, to test fallbacks. */
  readonly disableFeatures?: readonly OptionalFeature[];
  /** Lowers `limits.maxBindingBytes`, to test splitting. */
  readonly maxBindingBytes?: number;
  /** Dawn's null backend: compiles everything, runs nothing. */
  readonly nullBackend?: boolean;
  /** Freed blocks beyond this many bytes are given back to the driver. Default 512 MiB. */
  readonly maxPooledBytes?: number;
  /** Default: `navigator.gpu` where there is one, else Dawn in Node. */
  readonly gpu?: GPU;
  /** Default "high-performance". */
  readonly powerPreference?: GPUPowerPreference;
}

export interface SubgroupMatrixConfig {
  readonly component: string;
  readonly result: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What kernels may use. */
export interface WebGpuFeatures {
  /** WGSL's `enable f16`. */
  readonly f16: boolean;
  /** WGSL's `enable subgroups`. */
  readonly subgroups: boolean;
  readonly subgroupSize: { readonly min: number; readonly max: number };
  /** Shapes of WGSL's `enable chromium_experimental_subgroup_matrix`; empty without it. */
  readonly subgroupMatrix: readonly SubgroupMatrixConfig[];
  /** WGSL's `dot4I8Packed` and its kin. */
  readonly integerDots: boolean;
  readonly timestamps: boolean;
}

export interface WebGpuLimits {
  readonly maxBindingBytes: number;
  readonly maxBufferBytes: number;
  readonly maxWorkgroupStorageBytes: number;
  readonly maxInvocations: number;
  readonly maxWorkgroupsPerDimension: number;
  readonly maxStorageBuffers: number;
  /** Byte offsets of bound slices are multiples of this. */
  readonly offsetAlignment: number;
}

export interface OpenedGpu {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
  readonly label: string;
  readonly isSoftware: boolean;
  readonly features: WebGpuFeatures;
  readonly limits: WebGpuLimits;
  readonly uniformAlignment: number;
}

/** What Dawn adds to the adapter's description. */
interface DawnInfo {
  readonly isFallbackAdapter?: boolean;
  readonly subgroupMatrixConfigs?: Iterable<{
    readonly componentType: string;
    readonly resultComponentType: string;
    readonly M: number;
    readonly N: number;
    readonly K: number;
  }>;
}

/** @throws {NoDeviceError} Says what was tried. */
export async function openGpu(options: WebGpuOptions): Promise<OpenedGpu> {
  const { gpu, adapter } = await findAdapter(options);
  // The description grew in Chrome and Dawn beyond what the types know.
  const info = adapter.info as GPUAdapterInfo & DawnInfo;
  const nullBackend = options.nullBackend ?? false;
  const isSoftware = nullBackend || isSoftwareAdapter(info);
  const off = new Set(options.disableFeatures);
  // The types lack the experimental one.
  const wanted: readonly [GPUFeatureName, OptionalFeature][] = [
    ["shader-f16", "f16"],
    ["subgroups", "subgroups"],
    ["subgroup-size-control" as GPUFeatureName, "subgroups"],
    ["chromium-experimental-subgroup-matrix" as GPUFeatureName, "subgroupMatrix"],
    ["timestamp-query", "timestamps"],
  ];
  const requiredFeatures = wanted.flatMap(([name, ours]) =>
    adapter.features.has(name) && !off.has(ours) ? [name] : [],
  );
  const requiredLimits: Record<string, number> = {};
  // Limits default to WebGPU's minimum; ask for what is there. Getters sit on the prototype, hence for…in.
  for (const name in adapter.limits) {
    const value: unknown = adapter.limits[name as keyof GPUSupportedLimits];
    // Chrome once listed subgroup sizes here and refused to be asked for them.
    if (typeof value === "number" && !name.includes("Subgroup")) requiredLimits[name] = value;
  }
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: "fulgur", requiredFeatures, requiredLimits });
  } catch (error) {
    throw new NoDeviceError(`WebGPU: the adapter ${describe(info)} refuses a device: ${String(error)}`, undefined, {
      cause: error,
    });
  }
  const has = (name: string): boolean => device.features.has(name as GPUFeatureName);
  const f16 = has("shader-f16");
  const matrices = has("chromium-experimental-subgroup-matrix") ? [...(info.subgroupMatrixConfigs ?? [])] : [];
  const limits = device.limits;
  // A feature of the language, not of the adapter; browsers did not always list them.
  const language: WGSLLanguageFeatures | undefined = gpu.wgslLanguageFeatures;
  return {
    gpu,
    adapter,
    device,
    label: nullBackend ? "WebGPU, null backend" : `${describe(info)} (WebGPU${isSoftware ? ", software" : ""})`,
    isSoftware,
    features: {
      f16,
      subgroups: has("subgroups"),
      subgroupSize: { min: info.subgroupMinSize ?? 4, max: info.subgroupMaxSize ?? 128 },
      subgroupMatrix: matrices
        .map((c) => ({ component: c.componentType, result: c.resultComponentType, M: c.M, N: c.N, K: c.K }))
        .filter((c) => f16 || (c.component !== "f16" && c.result !== "f16")),
      integerDots: (language?.has("packed_4x8_integer_dot_product") ?? false) && !off.has("integerDots"),
      timestamps: has("timestamp-query"),
    },
    limits: {
      // Bindings are whole words.
      maxBindingBytes:
        Math.floor(Math.min(options.maxBindingBytes ?? Infinity, limits.maxStorageBufferBindingSize) / 4) * 4,
      maxBufferBytes: limits.maxBufferSize,
      maxWorkgroupStorageBytes: limits.maxComputeWorkgroupStorageSize,
      maxInvocations: limits.maxComputeInvocationsPerWorkgroup,
      maxWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
      maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
      offsetAlignment: limits.minStorageBufferOffsetAlignment,
    },
    uniformAlignment: limits.minUniformBufferOffsetAlignment,
  };
}

async function findAdapter(options: WebGpuOptions): Promise<{ gpu: GPU; adapter: GPUAdapter }> {
  const tried: string[] = [];
  const allowSoftware = (options.allowSoftware ?? false) || (options.nullBackend ?? false);
  const request = async (gpu: GPU, name: string): Promise<{ gpu: GPU; adapter: GPUAdapter } | undefined> => {
    const adapter = await gpu.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" });
    if (!adapter) tried.push(`${name}: no adapter`);
    else if (!allowSoftware && isSoftwareAdapter(adapter.info)) {
      tried.push(`${name}: only the software adapter ${describe(adapter.info)}, which needs allowSoftware`);
    } else return { gpu, adapter };
    return undefined;
  };
  // Node 20 has no navigator, and our types have no DOM.
  const page = (globalThis as { readonly navigator?: { readonly gpu?: GPU } }).navigator?.gpu;
  const given = options.gpu ?? (options.nullBackend ? undefined : page);
  if (given) {
    const found = await request(given, options.gpu ? "the given gpu" : "navigator.gpu");
    if (found) return found;
  } else if (isNode) {
    const nullBackend = options.nullBackend ?? false;
    if (nullBackend || mayHaveDriver()) {
      const found = await request(await dawn({ nullBackend }), nullBackend ? "Dawn's null backend" : "Dawn");
      if (found) return found;
    }
    const software = allowSoftware && !nullBackend ? chooseSoftwareDriver() : undefined;
    if (software) {
      // A fresh instance, as the first has already asked the Vulkan loader for its drivers.
      const found = await request(await dawn({ nullBackend }), software);
      if (found) return found;
    }
    if (process.platform === "linux")
      tried.push("on Linux the Vulkan loader libvulkan.so.1 and a driver must be installed");
  } else {
    tried.push(
      "navigator.gpu is missing: the browser lacks WebGPU or the page is no secure context (https or localhost)",
    );
  }
  throw new NoDeviceError(`WebGPU: no ${allowSoftware ? "" : "hardware "}adapter. ${tried.join("; ")}.`);
}

function isSoftwareAdapter(info: GPUAdapterInfo & DawnInfo): boolean {
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|basic render/i.test(text);
}

function describe(info: GPUAdapterInfo): string {
  // Dawn puts the model into `device`, browsers mostly leave it empty.
  const model = info.device || info.description || info.architecture;
  const name = model.toLowerCase().includes(info.vendor.toLowerCase()) ? model : `${info.vendor} ${model}`;
  return name.trim() || "unnamed";
}
