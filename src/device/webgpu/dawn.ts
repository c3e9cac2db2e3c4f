/**
 * Dawn, the WebGPU implementation that Node gets from the npm package `webgpu`. The only file that imports it.
 *
 * The object that Dawn's `create` returns must stay referenced for the life of the process: once it is collected the process
 * crashes, even while its devices are in use. Hence the module variable.
 */
import { NoDeviceError } from "../errors.js";

interface DawnPackage {
  create(options: string[]): GPU;
}

const instances = new Map<string, GPU>();

/** True in Node, where the system's files can be looked at. */
export const isNode = typeof process !== "undefined" && typeof process.versions?.node === "string";

/**
 * An instance of Dawn. Instances are kept and shared by equal `options` and Vulkan drivers.
 *
 * @throws {NoDeviceError} The package is missing or has no binary for this system.
 */
export async function dawn(options: { readonly nullBackend: boolean }): Promise<GPU> {
  const list = [
    // One string: a second `enable-dawn-features` would replace the first.
    // allow_unsafe_apis: subgroup matrices. vulkan_enable_f16_on_nvidia: Dawn hides f16 on NVIDIA drivers before 615.71.
    "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    // Timestamps otherwise step by 100 µs or so, longer than most kernels.
    "disable-dawn-features=timestamp_quantization",
    ...(options.nullBackend ? ["backend=null"] : []),
  ];
  const key = [...list, process.env.VK_DRIVER_FILES ?? ""].join(";");
  const known = instances.get(key);
  if (known) return known;
  const { create } = await loadPackage();
  const gpu = instances.get(key) ?? create(list);
  instances.set(key, gpu);
  return gpu;
}

const packageName = "webgpu";

async function loadPackage(): Promise<DawnPackage> {
  const causes: string[] = [];
  try {
    // A variable, so that bundlers for the browser leave the import alone. The package's types say the same as ours.
    return (await import(/* @vite-ignore */ packageName)) as DawnPackage;
  } catch (error) {
    causes.push(`import "${packageName}": ${firstLine(error)}`);
  }
  const folder = process.env.WEBGPU_DIR;
  if (folder) {
    const { existsSync } = process.getBuiltinModule("node:fs");
    const { join } = process.getBuiltinModule("node:path");
    const { pathToFileURL } = process.getBuiltinModule("node:url");
    const { createRequire } = process.getBuiltinModule("node:module");
    try {
      const index = join(folder, "index.js");
      if (existsSync(index)) return (await import(/* @vite-ignore */ pathToFileURL(index).href)) as DawnPackage;
      return createRequire(import.meta.url)(join(folder, "dawn.node")) as DawnPackage;
    } catch (error) {
      causes.push(`WEBGPU_DIR=${folder}: ${firstLine(error)}`);
    }
  }
  throw new NoDeviceError(
    `WebGPU: the npm package "webgpu" cannot be loaded. Tried ${causes.join("; ")}. Install it, or set WEBGPU_DIR to a folder with its index.js or dawn.node.`,
  );
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
}

/** Where Debian's chromium keeps the description of SwiftShader, a Vulkan driver in software. */
const softwareDriver = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Where the Vulkan loader looks for drivers; asking it where there are none prints warnings. */
const driverFolders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/** False on a Linux machine where no Vulkan driver is installed or named. */
export function mayHaveDriver(): boolean {
  if (process.platform !== "linux" || process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return true;
  const { existsSync, readdirSync } = process.getBuiltinModule("node:fs");
  return driverFolders.some((folder) => existsSync(folder) && readdirSync(folder).length > 0);
}

/**
 * Points the Vulkan loader at SwiftShader where no driver is chosen. Only works on the main thread: a worker's
 * `process.env` is a copy that the loader does not see.
 *
 * @returns What was tried, or undefined when there is nothing to try.
 */
export function chooseSoftwareDriver(): string | undefined {
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return undefined;
  if (!process.getBuiltinModule("node:fs").existsSync(softwareDriver)) return undefined;
  process.env.VK_DRIVER_FILES = softwareDriver;
  // A Vulkan layer prints two harmless lines without it.
  process.env.XDG_RUNTIME_DIR ??= "/tmp";
  return `SwiftShader (${softwareDriver})`;
}
