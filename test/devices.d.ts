/**
 * The devices that tests run on: the CPU with two threads, and WebGPU where there is an adapter (a software one will do).
 *
 * Both are opened once for a test file's process. A missing adapter is said in one line; with FULGUR_REQUIRE_WEBGPU=1 it is
 * an error instead, so that a machine that should test WebGPU cannot skip it unseen.
 */
import { type Device, WebGpuDevice } from "../src/device/index.js";
/** For `describe.each(await devices())("… on $label", (device) => …)`. */
export declare function devices(): Promise<Device[]>;
/**
 * The WebGPU device, or undefined after a printed line when there is none:
 * `describe.skipIf(!device)`.
 */
export declare function webgpuOrSkip(): Promise<WebGpuDevice | undefined>;
