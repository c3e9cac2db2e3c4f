/** Options that every command with a model shares, and opening what they name. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError, Option } from "commander";
import { cacheKind, cacheNames } from "../cache/index.js";
import { type Device, open, type WebGpuOptions } from "../device/index.js";
import { type Folder, openFolder } from "../formats/index.js";
import { fileSource } from "../formats/node/index.js";
import { type LoadOptions, loadModel } from "../generate/index.js";
import { bytesText, InputError, progressLine, say } from "./output.js";
import type { Opened } from "./startup.js";

export interface DeviceOptions {
  readonly device: "auto" | "webgpu" | "cpu";
  readonly threads?: number;
}

export interface ModelOptions extends DeviceOptions {
  readonly model: string;
  readonly kv: string;
  readonly kvCalibration?: string;
  readonly precision: "auto" | "f32" | "f16";
}

/** The project's own folder: dist/cli/ is two below it. */
export const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export const defaultModel = join(packageRoot, "models", "fulgur-mini");

export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(
        `expected a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ""}.`,
      );
    }
    return value;
  };
}

export function decimal(least: number, most = Number.POSITIVE_INFINITY): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a number from ${least}${Number.isFinite(most) ? ` to ${most}` : ""}.`);
    }
    return value;
  };
}

export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--device <kind>", "where to compute; auto takes a real GPU, else the CPU")
        .choices(["auto", "webgpu", "cpu"])
        .default("auto"),
    )
    .option("--threads <n>", "threads of the CPU device (default: all cores)", wholeNumber(1, 64));
}

export function addModelOptions(command: Command): Command {
  command.option("--model <dir>", "model folder (config.json, *.safetensors, tokenizer.json)", defaultModel);
  addDeviceOptions(command);
  command.addOption(
    new Option("--precision <type>", "products of long prompts; auto: float16 where a GPU has matrix units for it")
      .choices(["auto", "f32", "f16"])
      .default("auto"),
  );
  command.option("--kv-calibration <file>", "what `calibrate` wrote (default: the model folder's, if it has one)");
  return command.addOption(
    new Option("--kv <kind>", `how keys and values are kept: ${cacheNames.join(", ")}; options behind a colon`)
      .argParser(kvKind)
      .default("f32"),
  );
}

/** A kind's name, with its options. @throws {InvalidArgumentError} */
function kvKind(text: string): string {
  try {
    cacheKind(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? `${error.message}.` : String(error));
  }
  return text;
}

export function openDevice(options: DeviceOptions, webgpu: WebGpuOptions = {}): Promise<Device> {
  const cpu = options.threads === undefined ? {} : { threads: options.threads };
  return open({ prefer: options.device, cpu, webgpu });
}

/**
 * Opens the device and loads the model, with progress; closes the device when loading fails. `adapt` may show the loader
 * another view of the folder.
 */
export async function openModel(
  options: ModelOptions,
  extra: Omit<LoadOptions, "device" | "kv"> = {},
  adapt: (folder: Folder) => Folder = (folder) => folder,
): Promise<Opened & { readonly device: Device } & AsyncDisposable> {
  if (!/^https?:/.test(options.model) && !existsSync(options.model)) {
    throw new InputError(`--model ${options.model}: there is no such folder`);
  }
  const began = performance.now();
  const device = await openDevice(options);
  const deviceSeconds = (performance.now() - began) / 1000;
  const line = progressLine("Loading");
  try {
    const calibration = options.kvCalibration === undefined ? undefined : await fileSource(options.kvCalibration);
    const model = await loadModel(adapt(await openFolder(options.model)), {
      device,
      // The matrix units are asked for only where they are: elsewhere f16 and f32 are the same kernels.
      precision: options.precision === "auto" ? "f16" : options.precision,
      kv: options.kv,
      calibration,
      onProgress: ({ done, total }) => line.update(done, total, `${bytesText(done)} of ${bytesText(total)}`),
      ...extra,
    });
    if (cacheKind(options.kv).calibrated && !model.language.state.calibration) {
      say(`The cache ${options.kv} works better with a calibration file; see fulgur calibrate --help.`);
    }
    return {
      model,
      device,
      deviceSeconds,
      async [Symbol.asyncDispose]() {
        await model.close();
        await device.close();
      },
    };
  } catch (error) {
    await device.close();
    throw error;
  } finally {
    line.end();
  }
}
