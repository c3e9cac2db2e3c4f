import { afterAll, describe, expect, test } from "vitest";
import { webgpuOrSkip } from "../../../test/devices.js";
import { empty, type Tensor, upload, zeros } from "../../tensor/tensor.js";
import type { BufferSlice } from "../buffer.js";
import { DeviceError, DeviceLostError, NoDeviceError, OutOfMemoryError } from "../errors.js";
import type { WebGpuKernel } from "./kernel.js";
import { params } from "./params.js";
import { WebGpuDevice, type WebGpuOptions } from "./webgpu-device.js";

const affine = params({ count: "u32", scale: "f32", shift: "f32" });

/** y[i] = x[i] · scale + shift */
const affineKernel: WebGpuKernel = {
  label: "affine f32",
  code: /* wgsl */ `
${affine.wgsl}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < p.count) { y[id.x] = x[id.x] * p.scale + p.shift; }
}`,
};

/** y[i] = y[i] · 3 + 1, whose repetitions do not commute with other steps. */
const stepKernel: WebGpuKernel = {
  label: "step u32",
  code: /* wgsl */ `
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&y)) { y[id.x] = y[id.x] * 3u + 1u; }
}`,
};

const shared = await webgpuOrSkip();
const others: WebGpuDevice[] = [];

async function openOwn(options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const device = await WebGpuDevice.open({ allowSoftware: true, ...options });
  others.push(device);
  return device;
}

function runAffine(device: WebGpuDevice, x: BufferSlice, y: BufferSlice, scale: number, shift: number): void {
  const count = x.byteLength / 4;
  device.run(affineKernel, {
    buffers: [x, y],
    params: affine.write({ count, scale, shift }),
    grid: [Math.ceil(count / 64)],
    cost: { bytes: count * 8, operations: count * 2 },
  });
}

function runStep(device: WebGpuDevice, y: BufferSlice): void {
  device.run(stepKernel, { buffers: [y], grid: [Math.ceil(y.byteLength / 256)] });
}

const numbers = (tensor: Tensor): Promise<number[]> => tensor.read().then((values) => Array.from(values));

afterAll(async () => {
  for (const device of others) await device.close();
});

describe.skipIf(!shared)(`WebGPU on ${shared?.label ?? "nothing"}`, () => {
  // Skipped above when there is none.
  const device = shared as WebGpuDevice;

  test("runs a kernel with parameters", async () => {
    using x = upload(device, [1, 2, 3, 4, 5], [5]);
    using y = empty(device, [5]);
    runAffine(device, x, y, 2, 0.5);
    expect(await numbers(y)).toEqual([2.5, 4.5, 6.5, 8.5, 10.5]);
  });

  test("launches see what those before them wrote, with their own parameters", async () => {
    using a = upload(device, [1, 2, 3], [3]);
    using b = empty(device, [3]);
    const submissions = device.counters.submissions;
    for (let i = 0; i < 10; i++) {
      runAffine(device, a, b, 1, i);
      runAffine(device, b, a, 1, 0);
    }
    device.flush();
    expect(device.counters.submissions - submissions).toBe(1);
    expect(await numbers(a)).toEqual([46, 47, 48]);
  });

  test("replays a capture a hundred times without a new buffer or bind group", async () => {
    using state = upload(device, [7], [1], "u32");
    using list = device.capture(() => {
      device.scope(() => {
        const scratch = empty(device, [1], "u32");
        device.copy(state, scratch);
        runStep(device, scratch);
        device.copy(scratch, state);
      });
    });
    expect(list.launches).toBe(3);
    expect(await numbers(state)).toEqual([7]);
    const before = { ...device.counters, blocksMade: device.memory.blocksMade };
    let wanted = 7;
    for (let i = 0; i < 100; i++) {
      list.replay();
      // Other work beside it must neither disturb nor be disturbed.
      if (i % 10 === 0) {
        using other = empty(device, [1], "u32");
        device.clear(other);
      }
      wanted = (Math.imul(wanted, 3) + 1) >>> 0;
    }
    device.flush();
    const after = device.counters;
    expect(after.buffers - before.buffers).toBeLessThanOrEqual(1); // the tensor beside it
    expect(after.bindGroups - before.bindGroups).toBeLessThanOrEqual(1);
    expect(after.pipelines).toBeLessThanOrEqual(before.pipelines + 1); // its clear
    expect(after.dispatches - before.dispatches).toBe(310);
    expect(await numbers(state)).toEqual([wanted]);
  });

  test("a replay alone makes nothing at all", async () => {
    using state = upload(device, [1], [1], "u32");
    using list = device.capture(() => runStep(device, state));
    const { buffers, bindGroups, pipelines } = device.counters;
    for (let i = 0; i < 100; i++) list.replay();
    device.flush();
    expect(device.counters).toMatchObject({ buffers, bindGroups, pipelines });
    await device.idle();
  });

  test("a captured list keeps its memory to itself, and gives it back", async () => {
    const live = device.memory.live;
    const x = upload(device, [1, 2], [2]);
    let y: Tensor | undefined;
    const list = device.capture(() => {
      y = empty(device, [2]);
      runAffine(device, x, y, 10, 0);
    });
    y?.dispose();
    x.dispose();
    // Both blocks would be handed out here if the list did not hold them.
    const strangers = [upload(device, [5, 5], [2]), upload(device, [6, 6], [2])];
    list.replay();
    for (const [i, stranger] of strangers.entries()) expect(await numbers(stranger)).toEqual([5 + i, 5 + i]);
    for (const stranger of strangers) stranger.dispose();
    expect(device.memory.live).toBe(live + 16);
    list.dispose();
    list.dispose();
    expect(device.memory.live).toBe(live);
    expect(() => list.replay()).toThrow("disposed");
  });

  test("a capture reuses its own freed memory inside, in order", async () => {
    using out = upload(device, [0, 0], [2]);
    using one = upload(device, [1, 1], [2]);
    const made = device.memory.blocksMade;
    using list = device.capture(() => {
      for (let i = 0; i < 20; i++) {
        using t = empty(device, [2]);
        runAffine(device, one, t, 1, i);
        runAffine(device, t, out, 2, 0);
      }
    });
    expect(device.memory.blocksMade - made).toBeLessThanOrEqual(1);
    list.replay();
    expect(await numbers(out)).toEqual([40, 40]);
  });

  test("a capture refuses what it cannot keep", async () => {
    using x = upload(device, [1], [1]);
    expect(() => device.capture(() => x.write(Float32Array.of(2)))).toThrow("write inside capture");
    expect(() => device.capture(() => device.flush())).toThrow("flush inside capture");
    expect(() => device.capture(() => device.capture(() => undefined).dispose())).toThrow("capture inside capture");
    expect(await numbers(x)).toEqual([1]);
  });

  test("reuses freed blocks and counts bytes", () => {
    const { live } = device.memory;
    const a = device.allocate(1000);
    device.resetPeak();
    const made = device.memory.blocksMade;
    device.free(a);
    const b = device.allocate(998);
    expect(device.memory).toMatchObject({ live: live + 1000, peak: live + 1000, blocksMade: made });
    expect(b.handle).toBe(a.handle);
    device.free(b);
    expect(device.memory.live).toBe(live);
    expect(() => device.free(b)).toThrow("freed before");
  });

  test("reuses bind groups while the buffers live", async () => {
    using x = upload(device, [1], [1]);
    using y = empty(device, [1]);
    runAffine(device, x, y, 1, 1);
    const { bindGroups } = device.counters;
    for (let i = 0; i < 5; i++) runAffine(device, x, y, 1, i);
    expect(device.counters.bindGroups).toBe(bindGroups);
    expect(await numbers(y)).toEqual([5]);
  });

  test("says which slice is misaligned, too large, foreign or freed", async () => {
    const own = await openOwn({ maxBindingBytes: 4096 });
    using x = empty(own, [4, 512]);
    using y = empty(own, [2048]);
    const { offsetAlignment } = own.limits;
    expect(() =>
      runAffine(own, { allocation: x.allocation, byteOffset: 4, byteLength: 64 }, y.slice(0, 16), 1, 1),
    ).toThrow(
      `kernel "affine f32", buffer 1: byte offset 4 is no multiple of ${offsetAlignment}. Copy the slice, or choose shapes whose rows are multiples of ${offsetAlignment} bytes.`,
    );
    expect(() => runAffine(own, x.slice(0, 1), y, 1, 1)).toThrow(
      `kernel "affine f32", buffer 2: 8192 bytes are more than one binding can hold (4096); bind it in pieces`,
    );
    using foreign = empty(device, [16]);
    expect(() => runStep(own, foreign)).toThrow("belongs to another device");
    const gone = own.allocate(64, "old state");
    own.free(gone);
    expect(() => runStep(own, { allocation: gone, byteOffset: 0, byteLength: 64 })).toThrow(
      `kernel "step u32", buffer 1: the memory of old state was freed before`,
    );
    expect(() => runStep(own, { allocation: x.allocation, byteOffset: 7936, byteLength: 512 })).toThrow(
      "outside of the allocation",
    );
  });

  test("says what is wrong with a launch", () => {
    using x = empty(device, [4]);
    using y = empty(device, [4]);
    expect(() => device.run(stepKernel, { buffers: [x, y], grid: [1] })).toThrow(
      `kernel "step u32" expected 1 buffers, got 2`,
    );
    expect(() => device.run(stepKernel, { buffers: [x], grid: [0] })).toThrow(
      `kernel "step u32": grid [0, 1, 1] expected whole numbers from 1 to ${device.limits.maxWorkgroupsPerDimension}`,
    );
    expect(() => device.run(affineKernel, { buffers: [x, y], grid: [1] })).toThrow(`kernel "affine f32" needs params`);
    expect(() => device.run(stepKernel, { buffers: [x], grid: [1], params: new Uint8Array(16) })).toThrow(
      "has no uniform binding",
    );
    expect(() => runAffine(device, x, x, 1, 1)).toThrow("works in place");
  });

  test("a kernel may read one slice of a tensor and write another", async () => {
    using both = upload(
      device,
      Array.from({ length: 128 }, (_, i) => i),
      [2, 64],
    );
    using from = both.slice(0, 1);
    using to = both.slice(1, 2);
    runAffine(device, from, to, 1, 1000);
    expect((await numbers(both)).slice(60, 68)).toEqual([60, 61, 62, 63, 1000, 1001, 1002, 1003]);
  });

  test("a bad kernel rejects the next read with the compiler's message, once", async () => {
    const own = await openOwn();
    using y = zeros(own, [1], "u32");
    const bad: WebGpuKernel = {
      label: "bad kernel",
      code: `@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() {
  y[0] = missing + 1u;
}`,
    };
    own.run(bad, { buffers: [y], grid: [1] });
    const error = await own.read(y).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(DeviceError);
    expect((error as DeviceError).kernel).toBe("bad kernel");
    expect((error as DeviceError).message).toMatchInlineSnapshot(`
      "kernel "bad kernel" does not compile:
      line 3:10: error: unresolved value 'missing'
          y[0] = missing + 1u;"
    `);
    await expect(own.prepare([stepKernel, { ...bad, code: `${bad.code}\n` }])).rejects.toThrow(
      `kernel "bad kernel" does not compile:\nline 3:10: error: unresolved value 'missing'`,
    );
    await own.idle();
    using after = zeros(own, [1], "u32");
    runStep(own, after);
    expect(await numbers(after)).toEqual([1]);
  });

  test("prepared kernels are not compiled again", async () => {
    const own = await openOwn();
    await own.prepare([affineKernel, stepKernel, { ...stepKernel }]);
    const { pipelines } = own.counters;
    expect(pipelines).toBe(2);
    using y = zeros(own, [1], "u32");
    runStep(own, y);
    await own.idle();
    expect(own.counters.pipelines).toBe(pipelines + 1); // clear
  });

  test("a rehearsal compiles and does nothing else", async () => {
    const own = await openOwn();
    using y = upload(own, [7, 8], [2], "u32");
    using both = upload(own, [1, 2, 3, 4], [4]);
    const dispatches = own.counters.dispatches;
    const live = own.memory.live;
    await own.rehearse(() => {
      using z = zeros(own, [64], "u32");
      runStep(own, z);
      runStep(own, y);
      y.write(Uint32Array.of(0, 0));
      own.copy(y, z);
      expect(() => own.flush()).toThrow("inside rehearse");
      expect(() => runStep(own, { ...z, allocation: z.allocation, byteOffset: 4, byteLength: 8 })).toThrow(
        "byte offset",
      );
    });
    expect(own.memory.live).toBe(live);
    expect(own.counters.dispatches).toBe(dispatches);
    const { pipelines } = own.counters;
    expect(await numbers(y)).toEqual([7, 8]);
    using z = zeros(own, [64], "u32");
    runStep(own, z);
    own.copy(y, z);
    expect((await numbers(z)).slice(0, 3)).toEqual([7, 8, 1]);
    expect(own.counters.pipelines).toBe(pipelines);
    await expect(
      own.rehearse(() => own.run({ label: "bad", code: "" }, { buffers: [both], grid: [1] })),
    ).rejects.toThrow(/"bad"/);
    const bad = `@group(0) @binding(1) var<storage, read_write> y: array<u32>;\n@compute @workgroup_size(1) fn main() { y[0] = nothing; }`;
    await expect(
      own.rehearse(() => own.run({ label: "wrong", code: bad }, { buffers: [both], grid: [1] })),
    ).rejects.toThrow(/kernel "wrong" does not compile/);
  });

  test("debug names the kernel whose launch is invalid", async () => {
    const own = await openOwn({ debug: true });
    const wide: WebGpuKernel = {
      label: "wide reads",
      code: `struct Row { a: array<vec4f, 64> }
@group(0) @binding(1) var<storage, read_write> y: array<Row>;
@compute @workgroup_size(1) fn main() { y[0].a[0] = vec4f(); }`,
    };
    using y = empty(own, [1]);
    own.run(wide, { buffers: [y], grid: [1] });
    await expect(own.idle()).rejects.toThrow(/^kernel "wide reads": .*/);
  });

  test("writes and reads in order with launches", async () => {
    using y = upload(device, [1, 2], [2], "u32");
    runStep(device, y);
    const first = numbers(y);
    y.write(Uint32Array.of(10, 20));
    runStep(device, y);
    const second = numbers(y);
    expect(await first).toEqual([4, 7]);
    expect(await second).toEqual([31, 61]);
    expect(() => device.write(y, new Uint8Array(3))).toThrow("multiples of 4");
    expect(() => device.write(y, new Uint8Array(12))).toThrow("into a slice of 8");
  });

  test("large writes go through staging in order", async () => {
    const words = 5 * 2 ** 20 + 3; // 20 MiB: five staging buffers and a tail
    const data = new Uint32Array(words);
    for (let i = 0; i < words; i++) data[i] = Math.imul(i, 2654435761);
    using y = empty(device, [words], "u32");
    for (let round = 0; round < 2; round++) {
      data[words - 1] = round;
      y.write(data);
      const got = (await y.read()) as Uint32Array;
      expect(Buffer.compare(Buffer.from(got.buffer), Buffer.from(data.buffer))).toBe(0);
    }
  });

  test("lends memory to several at a time, in order with launches", async () => {
    const words = 2 ** 20 / 4;
    const pieces = 12; // more than there are staging buffers
    using y = zeros(device, [pieces * words], "u32");
    const part = (i: number) => ({ allocation: y.allocation, byteOffset: i * words * 4, byteLength: words * 4 });
    const under = Array.from({ length: pieces }, (_, i) =>
      device.receive(part(i), async (memory) => {
        await new Promise((resolve) => setImmediate(resolve));
        new Uint32Array(memory.buffer, memory.byteOffset, words).fill(i + 1);
      }),
    );
    await Promise.all(under);
    runStep(device, y);
    await device.receive({ ...part(1), byteLength: 8 }, async (memory) => void memory.fill(0xff));
    const got = (await y.read()) as Uint32Array;
    expect(Array.from({ length: pieces }, (_, i) => got[i * words + words - 1])).toEqual(
      Array.from({ length: pieces }, (_, i) => 3 * (i + 1) + 1),
    );
    expect([...got.subarray(words, words + 3)]).toEqual([0xffffffff, 0xffffffff, 7]);
  });

  test("what fails to fill lent memory gives it back", async () => {
    using y = zeros(device, [2 ** 18], "u32");
    for (let i = 0; i < 10; i++) {
      await expect(device.receive(y, () => Promise.reject(new Error("no such file")))).rejects.toThrow("no such file");
    }
    await device.receive(y, async (memory) => void memory.fill(1));
    expect(((await y.read()) as Uint32Array)[5]).toBe(0x01010101);
    await expect(
      device.receive({ allocation: y.allocation, byteOffset: 0, byteLength: 2 ** 20 + 2 }, async () => {}),
    ).rejects.toThrow("multiples of 4");
  });

  test("parameters beyond one uniform page", async () => {
    using x = upload(device, [0], [1]);
    using y = empty(device, [1]);
    const submissions = device.counters.submissions;
    for (let i = 0; i < 2100; i++) {
      runAffine(device, x, y, 1, 1 + i);
      runAffine(device, y, x, 1, 0);
    }
    device.flush();
    expect(device.counters.submissions - submissions).toBeGreaterThan(1);
    expect(await numbers(x)).toEqual([(2100 * 2101) / 2]);
  });

  test.each([
    { at: 0, to: 0, words: 64 },
    { at: 0, to: 0, words: 67 },
    { at: 1, to: 2, words: 5 },
    { at: 4, to: 8, words: 1 },
    { at: 65, to: 4, words: 130 },
  ])("copies $words words from word $at to word $to, and clears", async ({ at, to, words }) => {
    const data = Array.from({ length: 256 }, (_, i) => i + 1);
    using x = upload(device, data, [256], "u32");
    using y = upload(device, data, [256], "u32");
    const slice = (t: Tensor, word: number): BufferSlice => ({
      allocation: t.allocation,
      byteOffset: word * 4,
      byteLength: words * 4,
    });
    device.copy(slice(x, at), slice(y, to));
    const copied = [...data];
    for (let i = 0; i < words; i++) copied[to + i] = data[at + i] ?? 0;
    expect(await numbers(y)).toEqual(copied);
    device.clear(slice(x, at));
    expect(await numbers(x)).toEqual(data.map((value, i) => (i >= at && i < at + words ? 0 : value)));
  });

  test("copies inside one tensor, and refuses overlap", async () => {
    using x = upload(device, [1, 2, 3, 4, 5, 6], [6], "u32");
    const words = (begin: number, count: number): BufferSlice => ({
      allocation: x.allocation,
      byteOffset: begin * 4,
      byteLength: count * 4,
    });
    device.copy(words(0, 2), words(3, 2));
    expect(await numbers(x)).toEqual([1, 2, 3, 1, 2, 6]);
    expect(() => device.copy(words(0, 3), words(2, 3))).toThrow("overlap");
  });

  test("copies and clears beyond one binding in pieces", async () => {
    const own = await openOwn({ maxBindingBytes: 1024 });
    const data = Array.from({ length: 1000 }, (_, i) => i + 1);
    using x = upload(own, [...data, ...data], [2000], "u32");
    using y = zeros(own, [1000], "u32");
    const half = (i: number): BufferSlice => ({ allocation: x.allocation, byteOffset: i * 4000, byteLength: 4000 });
    own.copy(half(0), y);
    expect(await numbers(y)).toEqual(data);
    own.clear(half(1));
    own.copy(half(0), half(1));
    expect(await numbers(x)).toEqual([...data, ...data]);
  });

  test("an allocation beyond the largest buffer is out of memory, and harms nobody", () => {
    const { live } = device.memory;
    const wanted = device.limits.maxBufferBytes + 4;
    expect(() => device.allocate(wanted)).toThrow(OutOfMemoryError);
    expect(device.memory.live).toBe(live);
    expect(() => device.allocate(-1)).toThrow(DeviceError);
  });

  test("the pool keeps no more than it may, even while launches are recorded", async () => {
    const own = await openOwn({ maxPooledBytes: 512 });
    const made = own.memory.blocksMade;
    const tensors = Array.from({ length: 4 }, () => zeros(own, [64], "u32"));
    for (const tensor of tensors) {
      runStep(own, tensor);
      tensor.dispose();
    }
    expect(own.memory).toMatchObject({ live: 0, pooled: 512, blocksMade: made + 4 });
    await own.idle();
    using again = zeros(own, [64], "u32");
    expect(await numbers(again)).toEqual(Array.from({ length: 64 }, () => 0));
  });

  test("scopes free what they do not return", async () => {
    const { live } = device.memory;
    const kept = device.scope(() => {
      const x = upload(device, [1, 2], [2]);
      const y = empty(device, [2]);
      runAffine(device, x, y, 3, 0);
      return { y };
    });
    expect(device.memory.live).toBe(live + 8);
    expect(await numbers(kept.y)).toEqual([3, 6]);
    kept.y.dispose();
    const sum = await device.scope(async () => {
      const x = upload(device, [1, 2], [2]);
      return (await numbers(x)).reduce((a, b) => a + b);
    });
    expect(sum).toBe(3);
    expect(device.memory.live).toBe(live);
  });

  test("profiles by kernel, replays included", async () => {
    using x = upload(device, [1], [1]);
    using y = upload(device, [1], [1], "u32");
    using z = empty(device, [1]);
    using list = device.capture(() => runStep(device, y));
    const profile = await device.profile(() => {
      runAffine(device, x, z, 1, 0);
      for (let i = 0; i < 3; i++) list.replay();
    });
    expect(
      profile.entries.map(({ kernel, calls, bytes, operations }) => ({ kernel, calls, bytes, operations })),
    ).toEqual([
      { kernel: "affine f32", calls: 1, bytes: 8, operations: 2 },
      { kernel: "step u32", calls: 3, bytes: 0, operations: 0 },
    ]);
    for (const { seconds } of profile.entries) expect(seconds).toBeGreaterThanOrEqual(0);
    const plain = await openOwn({ disableFeatures: ["timestamps"] });
    await expect(plain.profile(() => undefined)).rejects.toThrow("no timestamp queries");
  });

  test("closing rejects what waits and what comes later", async () => {
    const own = await openOwn();
    const y = zeros(own, [4]);
    const reading = own.read(y);
    const idling = own.idle();
    const both = Promise.allSettled([reading, idling]);
    await own.close();
    for (const result of await both) {
      expect(result).toMatchObject({ status: "rejected", reason: expect.any(DeviceLostError) });
    }
    expect(own.closed).toBe(true);
    expect((await own.lost).message).toContain("was closed");
    await expect(own.read(y)).rejects.toThrow(DeviceLostError);
    await expect(own.idle()).rejects.toThrow(DeviceLostError);
    expect(() => runStep(own, y)).toThrow(DeviceLostError);
    expect(() => own.allocate(4)).toThrow(DeviceLostError);
    y.dispose();
    await own.close();
  });

  test("a device that is destroyed underneath is lost", async () => {
    const own = await openOwn();
    const y = zeros(own, [4]);
    const reading = own.read(y).catch((error: unknown) => error);
    own.native.destroy();
    expect(await reading).toBeInstanceOf(DeviceLostError);
    expect((await own.lost).message).toContain("Open a new one");
    await expect(own.idle()).rejects.toThrow(DeviceLostError);
  });

  test("a software adapter must be allowed", async () => {
    if (!device.isSoftware) return;
    const error = await WebGpuDevice.open().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(NoDeviceError);
    expect((error as NoDeviceError).message).toMatch(/only the software adapter .*allowSoftware/);
  });
});
