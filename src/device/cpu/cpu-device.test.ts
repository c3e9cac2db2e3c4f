import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Allocation, BufferSlice } from "../buffer.js";
import { DeviceError, DeviceLostError, NoDeviceError, OutOfMemoryError } from "../errors.js";
import { f32 } from "./arguments.js";
import { CpuDevice } from "./cpu-device.js";
import type { Thread } from "./platform.js";
import { hasRelaxedSimd, wasm } from "./wasm.js";

const all = (allocation: Allocation): BufferSlice => ({ allocation, byteOffset: 0, byteLength: allocation.byteLength });

function upload(device: CpuDevice, values: ArrayLike<number>): BufferSlice {
  const data = Int32Array.from(values);
  const slice = all(device.allocate(data.byteLength));
  device.write(slice, data);
  return slice;
}

const ints = async (device: CpuDevice, slice: BufferSlice) => new Int32Array(await device.read(slice));

/** What `steps` launches of checkStep make of `values`, one after the other. */
function stepsReference(count: number, steps: number, values = new Int32Array(2 * count)): Int32Array {
  const length = 2 * count;
  for (let step = 0; step < steps; step++) {
    for (let task = 0; task < count; task++) {
      const left = (task + step) % length;
      const right = (2 * length - 1 - task + step) % length;
      const [a, b] = [values[left]!, values[right]!];
      values[left] = (Math.imul(b, 3) + step) | 0;
      values[right] = (Math.imul(a, 5) + task) | 0;
    }
  }
  return values;
}

function runStep(device: CpuDevice, values: BufferSlice, count: number, step: number, chunk = 1): void {
  device.run("checkStep", { arguments: [values, 2 * count, step], tasks: count, chunk });
}

describe.each([1, 2, 3])("CpuDevice with %i threads", (threads) => {
  let device: CpuDevice;
  beforeAll(async () => {
    device = await CpuDevice.open({ threads });
  });
  afterAll(() => device.close());

  test("says what it is", () => {
    expect(device.threads).toBe(threads);
    expect(device.label).toMatch(new RegExp(`^WebAssembly (relaxed )?SIMD, ${threads} threads?$`));
    expect(device.relaxedSimd).toBe(hasRelaxedSimd());
    expect(device.isSoftware).toBe(false);
  });

  test("launches happen in order, each after all of those before it", async () => {
    const count = 13;
    const values = upload(device, new Int32Array(2 * count));
    // More launches than the list holds: it is handed over in between.
    const steps = 20_000;
    for (let step = 0; step < steps; step++) runStep(device, values, count, step, 1 + (step % 5));
    expect(await ints(device, values)).toEqual(stepsReference(count, steps));
    device.free(values.allocation);
  });

  test("a flush is one fork, or none without work for a second thread", () => {
    const values = upload(device, new Int32Array(32));
    const { forks, launches } = device;
    for (let step = 0; step < 200; step++) runStep(device, values, 16, step);
    expect(device.forks).toBe(forks);
    device.flush();
    device.flush();
    expect(device.forks - forks).toBe(threads === 1 ? 0 : 1);
    expect(device.launches - launches).toBe(200);
    for (let step = 0; step < 200; step++) runStep(device, values, 16, step, 16);
    device.flush();
    expect(device.forks - forks).toBe(threads === 1 ? 0 : 1);
    device.free(values.allocation);
  });

  test("many flushes, with and without sleeping workers", async () => {
    const count = 8;
    const values = upload(device, new Int32Array(2 * count));
    const steps = 300;
    for (let step = 0; step < steps; step++) {
      runStep(device, values, count, step);
      device.flush();
      if (step % 100 === 50) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(await ints(device, values)).toEqual(stepsReference(count, steps));
    device.free(values.allocation);
  });

  test("each worker has one first call a launch", async () => {
    const tasks = 64;
    const outs = [1, 2, 3].map(() => upload(device, new Int32Array(2 * tasks)));
    for (const out of outs) device.run("checkFirstCall", { arguments: [out], tasks, chunk: 1 });
    for (const out of outs) {
      const words = await ints(device, out);
      const firsts = new Map<number, number>();
      for (let task = 0; task < tasks; task++) {
        const worker = words[2 * task]!;
        firsts.set(worker, (firsts.get(worker) ?? 0) + words[2 * task + 1]!);
      }
      expect([...firsts.values()].every((count) => count === 1)).toBe(true);
      device.free(out.allocation);
    }
  });

  test("arguments arrive as words", async () => {
    const out = upload(device, new Int32Array(8));
    const values = [-1, 0xffff_ffff, true, f32(1.5), undefined, { ...out, byteOffset: 8, byteLength: 4 }] as const;
    device.run("checkArguments", { arguments: [out, values.length, ...values], tasks: 1 });
    const address = device.address(out);
    expect([...(await ints(device, out))]).toEqual([-1, -1, 1, 0x3fc00000, 0, address + 8, 0, 0]);
    expect(() => device.run("checkArguments", { arguments: [out, 0.5], tasks: 1 })).toThrow(/argument 1 .* got 0.5/);
    expect(() => device.run("checkArguments", { arguments: [2 ** 32], tasks: 1 })).toThrow(DeviceError);
    expect(() => device.run("checkArguments", { arguments: [out, f32(0), NaN], tasks: 1 })).toThrow(DeviceError);
    device.free(out.allocation);
  });

  test("write, copy, clear and read keep their order", async () => {
    const a = upload(device, [1, 2, 3, 4]);
    const b = upload(device, [5, 6, 7, 8]);
    device.copy({ ...a, byteLength: 8 }, { ...b, byteOffset: 4, byteLength: 8 });
    device.write(a, Int32Array.of(9, 9));
    device.clear({ ...a, byteOffset: 8, byteLength: 4 });
    expect([...(await ints(device, b))]).toEqual([5, 1, 2, 8]);
    expect([...(await ints(device, a))]).toEqual([9, 9, 0, 4]);
    expect(() => device.write(a, new Uint8Array(3))).toThrow(/multiple of 4/);
    expect(() => device.write(a, new Uint8Array(20))).toThrow(/at most 16/);
    device.free(a.allocation);
    device.free(b.allocation);
  });

  test("lends memory while others make it grow", async () => {
    await using own = await CpuDevice.open({ threads });
    const byteLength = 2 ** 16;
    const slices = Array.from({ length: 4 }, () => ({
      allocation: own.allocate(byteLength),
      byteOffset: 0,
      byteLength,
    }));
    const under = slices.map((slice, i) =>
      own.receive(slice, async (memory) => {
        await new Promise((resolve) => setImmediate(resolve));
        own.free(own.allocate(8 * 2 ** 20 * (i + 1))); // untouched: only addresses
        memory.fill(i + 1);
      }),
    );
    await Promise.all(under);
    for (const [i, slice] of slices.entries()) {
      const bytes = new Uint8Array(await own.read(slice));
      expect([bytes[0], bytes.at(-1)]).toEqual([i + 1, i + 1]);
    }
  });

  test("large copies, also of overlapping ranges", async () => {
    const words = 300_000;
    const data = Int32Array.from({ length: words }, (_, index) => index);
    const a = upload(device, data);
    const b = upload(device, new Int32Array(words));
    device.copy(a, b);
    device.copy({ ...b, byteLength: 4 * (words - 10) }, { ...b, byteOffset: 40, byteLength: 4 * (words - 10) });
    device.clear(a);
    const expected = data.slice();
    expected.copyWithin(10, 0, words - 10);
    expect(Buffer.from(await device.read(b)).equals(Buffer.from(expected.buffer))).toBe(true);
    expect(new Int32Array(await device.read(a)).every((value) => value === 0)).toBe(true);
    device.free(a.allocation);
    device.free(b.allocation);
  });

  test("a captured list replays without new memory", async () => {
    const count = 16;
    const live = device.memory.live;
    const values = upload(device, new Int32Array(2 * count));
    const target = upload(device, new Int32Array(2 * count));
    const before = device.launches;
    const list = device.capture(() => {
      const one = device.allocate(256);
      device.copy({ ...values, byteLength: 128 }, all(one));
      device.free(one);
      const two = device.allocate(250);
      expect(device.address(all(two))).toBe((one.handle as number) | 0);
      device.copy({ allocation: two, byteOffset: 0, byteLength: 128 }, target);
      device.free(two);
      for (let step = 0; step < 6; step++) runStep(device, values, count, step);
    });
    expect(list.launches).toBe(8);
    expect(device.launches).toBe(before);
    const { blocksMade, live: withList } = device.memory;
    const other = device.allocate(256);
    const { forks } = device;
    for (let replay = 0; replay < 100; replay++) list.replay();
    expect(device.memory.live).toBe(withList + 256);
    expect(device.memory.blocksMade).toBe(blocksMade);
    expect(device.launches - before).toBe(800);

    const reference = new Int32Array(2 * count);
    let last = reference.slice();
    for (let replay = 0; replay < 100; replay++) {
      last = reference.slice();
      stepsReference(count, 6, reference);
    }
    expect(await ints(device, values)).toEqual(reference);
    expect(await ints(device, target)).toEqual(last);
    expect(device.forks - forks).toBe(threads === 1 ? 0 : 1);
    list.dispose();
    list.dispose();
    expect(() => list.replay()).toThrow(/disposed/);
    for (const allocation of [other, values.allocation, target.allocation]) device.free(allocation);
    expect(device.memory.live).toBe(live);
  });

  test("a captured list longer than the device's own is replayed in parts", async () => {
    const count = 4;
    const values = upload(device, new Int32Array(2 * count));
    const steps = 10_000;
    using list = device.capture(() => {
      for (let step = 0; step < steps; step++) runStep(device, values, count, step);
    });
    list.replay();
    expect(await ints(device, values)).toEqual(stepsReference(count, steps));
    device.free(values.allocation);
  });

  test("captures hold launches only", () => {
    const slice = upload(device, [1]);
    for (const f of [
      () => device.flush(),
      () => device.write(slice, Int32Array.of(1)),
      () => void device.capture(() => {}),
    ]) {
      expect(() => device.capture(f)).toThrow(DeviceError);
    }
    device.capture(() => {}).dispose();
    device.free(slice.allocation);
  });

  test("a profile sums by kernel, replays included", async () => {
    const values = upload(device, new Int32Array(64));
    using list = device.capture(() => device.clear(values));
    const profile = await device.profile(() => {
      runStep(device, values, 32, 0);
      list.replay();
      list.replay();
      device.copy({ ...values, byteLength: 16 }, { ...values, byteOffset: 32, byteLength: 16 });
    });
    expect(profile.entries.map(({ kernel, calls, bytes }) => [kernel, calls, bytes])).toEqual([
      ["checkStep", 1, 0],
      ["clearBytes", 2, 512],
      ["copyBytes", 1, 32],
    ]);
    expect(profile.entries.every(({ seconds }) => seconds >= 0 && seconds <= profile.seconds)).toBe(true);
    device.free(values.allocation);
  });

  test.each([
    [1, /checkTrap executed `unreachable`/],
    [2, /checkTrap read or wrote outside the memory/],
  ])("a trap (kind %i) rejects the next read with the kernel's name; the device goes on", async (how, text) => {
    const seen = upload(device, new Int32Array(40));
    device.run("checkTrap", { arguments: [how, 20, seen], tasks: 40, chunk: 4 });
    device.flush();
    const error = await device.read(seen).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({ kernel: "checkTrap", message: expect.stringMatching(text) });
    if (threads > 1) {
      // All chunks but the one that trapped were done.
      const expected = Array.from({ length: 40 }, (_, task) => (task >= 20 && task < 24 ? 0 : 1));
      expect([...(await ints(device, seen))]).toEqual(expected);
    }
    device.run("checkTrap", { arguments: [0, 0, seen], tasks: 40, chunk: 4 });
    await device.idle();
    expect((await ints(device, seen)).every((value) => value === 1)).toBe(true);
    device.free(seen.allocation);
  });

  test("scratch is each worker's own and counts as pooled", async () => {
    const tasks = 200;
    const out = upload(device, new Int32Array(tasks));
    const { live } = device.memory;
    const record = (bytes: number) => {
      const scratch = device.workerScratch(bytes);
      const perWorker = scratch.byteLength / threads;
      expect(perWorker).toBeGreaterThanOrEqual(bytes);
      expect(perWorker % 64).toBe(0);
      device.run("checkScratch", { arguments: [scratch, perWorker, out], tasks, chunk: 1 });
      return perWorker / 4;
    };
    using list = device.capture(() => void record(1000));
    const words = record(5000);
    expect(record(100)).toBe(words);
    expect(device.memory.live).toBe(live);
    expect([...(await ints(device, out))]).toEqual(Array.from({ length: tasks }, (_, task) => task * words));
    // The captured list keeps the scratch that it was recorded with, although the device has a larger one now.
    const filler = upload(device, new Int32Array(2000).fill(7));
    list.replay();
    expect((await ints(device, out))[3]).toBe(3 * 256);
    expect((await ints(device, filler)).every((value) => value === 7)).toBe(true);
    device.free(filler.allocation);
    device.free(out.allocation);
  });

  test("memory grows, and views follow", async () => {
    const small = upload(device, [1, 2, 3]);
    const large = device.allocate(40 * 1024 * 1024);
    device.copy({ ...small, byteLength: 12 }, { allocation: large, byteOffset: large.byteLength - 12, byteLength: 12 });
    const end = await device.read({ allocation: large, byteOffset: large.byteLength - 16, byteLength: 16 });
    expect([...new Int32Array(end).subarray(1)]).toEqual([1, 2, 3]);
    expect(device.memory.peak).toBeGreaterThan(40 * 1024 * 1024);
    device.free(large);
    device.resetPeak();
    expect(device.memory.peak).toBe(device.memory.live);
    expect(device.memory.pooled).toBeGreaterThan(40 * 1024 * 1024);
    device.free(small.allocation);
  });

  test("more than 4 GiB is refused with the reason", () => {
    const error = (() => {
      try {
        device.allocate(5 * 2 ** 30, "weights");
      } catch (reason) {
        return reason;
      }
    })();
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error).toMatchObject({ wantedBytes: 5 * 2 ** 30, message: expect.stringMatching(/weights.*4 GiB/) });
    device.free(device.allocate(64));
  });

  test("misuse is told", () => {
    const slice = upload(device, [1, 2]);
    expect(device.hasKernel("copyBytes")).toBe(true);
    expect(device.hasKernel("copyByte")).toBe(false);
    expect(() => device.run("copyByte", { arguments: [], tasks: 1 })).toThrow(/no CPU kernel copyByte.*copyBytes/);
    expect(() => device.run("clearBytes", { arguments: [], tasks: -1 })).toThrow(/tasks/);
    expect(() => device.run("clearBytes", { arguments: new Array(200), tasks: 1 })).toThrow(/arguments/);
    expect(() => device.address({ ...slice, byteOffset: 4, byteLength: 4 })).not.toThrow();
    expect(() => device.address({ ...slice, byteOffset: 8, byteLength: 4 })).toThrow(/leaves its allocation/);
    device.free(slice.allocation);
    expect(() => device.address(slice)).toThrow(/after it was freed/);
    expect(() => device.free(slice.allocation)).toThrow(/freed already/);
    expect(() => device.address({ ...slice, allocation: { id: 1, byteLength: 8, handle: 0 } })).toThrow(
      /another device/,
    );
  });

  test("nothing is left", () => {
    expect(device.memory.live).toBe(0);
  });
});

describe("the life of a CpuDevice", () => {
  test("closes while idle, and rejects from then on", async () => {
    const device = await CpuDevice.open({ threads: 2 });
    const slice = upload(device, [1]);
    await device.close();
    await device.close();
    expect(device.closed).toBe(true);
    expect(await device.lost).toBeInstanceOf(DeviceLostError);
    await expect(device.read(slice)).rejects.toThrow(DeviceLostError);
    await expect(device.idle()).rejects.toThrow(DeviceLostError);
    expect(() => device.run("clearBytes", { arguments: [slice, 4, 4], tasks: 1 })).toThrow(DeviceLostError);
    expect(() => device.allocate(4)).toThrow(DeviceLostError);
    device.free(slice.allocation);
  });

  test("one after the other, and side by side", async () => {
    for (let round = 0; round < 3; round++) {
      await using one = await CpuDevice.open({ threads: 2 });
      await using two = await CpuDevice.open({ threads: 1, relaxedSimd: false });
      const [a, b] = [upload(one, [1, 2, 3]), upload(two, [4, 5])];
      one.clear(a);
      expect([...(await ints(one, a)), ...(await ints(two, b))]).toEqual([0, 0, 0, 4, 5]);
      expect(() => one.address(b)).toThrow(/another device/);
    }
  });

  test("maximumBytes limits the arena exactly", async () => {
    await using device = await CpuDevice.open({ threads: 1, maximumBytes: 4 * 1024 * 1024 });
    const block = device.allocate(4 * 1024 * 1024 - 64);
    const last = device.allocate(64);
    expect(() => device.allocate(4)).toThrow(/maximumBytes/);
    device.free(last);
    device.free(block);
    device.free(device.allocate(4 * 1024 * 1024));
  });

  test("a worker that dies takes the device with it", async () => {
    const device = await CpuDevice.open({ threads: 3 });
    const slice = upload(device, [1]);
    const { workers } = device as unknown as { workers: Thread[] }; // private: nothing else ends a thread
    await workers[0]!.terminate();
    expect((await device.lost).message).toMatch(/worker thread/);
    await expect(device.read(slice)).rejects.toThrow(DeviceLostError);
    await device.close();
  });

  test("a given module decides about threads", async () => {
    const load = async (name: string) => ({
      module: await wasm.compile(
        new Uint8Array(await readFile(new URL(`../../../dist/wasm/${name}`, import.meta.url))),
      ),
    });
    const options = { threads: 2, relaxedSimd: false };
    await using single = await CpuDevice.open({ ...options, wasm: await load("kernels.single.wasm") });
    expect(single.threads).toBe(1);
    await using shared = await CpuDevice.open({ ...options, wasm: await load("kernels.wasm") });
    expect(shared.threads).toBe(2);
    const slice = upload(shared, new Int32Array(200_000).fill(5));
    shared.clear(slice);
    expect((await ints(shared, slice)).every((value) => value === 0)).toBe(true);
    const empty = { module: await wasm.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)) };
    await using none = await CpuDevice.open({ threads: 1, wasm: empty });
    expect(() => none.run("copyBytes", { arguments: [], tasks: 1 })).toThrow(/no CPU kernel/);
  });

  test("bad options", async () => {
    await expect(CpuDevice.open({ threads: 0 })).rejects.toThrow(RangeError);
    await expect(CpuDevice.open({ maximumBytes: 1 })).rejects.toThrow(RangeError);
    if (!hasRelaxedSimd()) return;
    await expect(CpuDevice.open({ threads: 1, relaxedSimd: true })).resolves.not.toBeInstanceOf(NoDeviceError);
  });
});
