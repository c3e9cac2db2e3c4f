/**
 * Timing launch by launch: each in a pass of its own with two timestamps, as WebGPU has none inside of passes.
 *
 * A pass costs the device more than a launch within one: the 79 launches of a decode step that take 320 µs in one pass on an
 * H100 add up to 824 µs here, 6 µs more for each.
 */
import type { ProfileEntry } from "../device.js";
import { bufferUsage, mapMode } from "./flags.js";
import { encode, type Launch } from "./recording.js";

/** Queries of one set; WebGPU allows 4096. */
const maxQueries = 2048;

export class Profiler {
  private readonly sums = new Map<string, { calls: number; seconds: number; bytes: number; operations: number }>();
  private readonly pending: Promise<void>[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly counters: { submissions: number },
  ) {}

  /** Submits the launches. */
  submit(launches: readonly Launch[]): void {
    for (let begin = 0; begin < launches.length; begin += maxQueries / 2) {
      this.pending.push(this.submitBatch(launches.slice(begin, begin + maxQueries / 2)));
    }
  }

  /** Waits for all timestamps. */
  async entries(): Promise<ProfileEntry[]> {
    await Promise.all(this.pending);
    return Array.from(this.sums, ([kernel, sum]) => ({ kernel, ...sum }));
  }

  private async submitBatch(launches: readonly Launch[]): Promise<void> {
    const { device } = this;
    const count = launches.length * 2;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const resolved = device.createBuffer({ size: count * 8, usage: bufferUsage.queryResolve | bufferUsage.copySource });
    const staging = device.createBuffer({ size: count * 8, usage: bufferUsage.mapRead | bufferUsage.copyTarget });
    const encoder = device.createCommandEncoder({ label: "profile" });
    launches.forEach((launch, i) => {
      const timestampWrites = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
      const pass = encoder.beginComputePass({ label: launch.label, timestampWrites });
      encode(pass, [launch]);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, count * 8);
    device.queue.submit([encoder.finish()]);
    this.counters.submissions += 1;
    // Order of first use, not of arrival.
    for (const { label } of launches) {
      if (!this.sums.has(label)) this.sums.set(label, { calls: 0, seconds: 0, bytes: 0, operations: 0 });
    }
    try {
      await staging.mapAsync(mapMode.read);
      const times = new BigUint64Array(staging.getMappedRange());
      launches.forEach(({ label, cost }, i) => {
        const sum = this.sums.get(label);
        if (!sum) throw new Error("internal: a profiled kernel has no entry");
        sum.calls += 1;
        // Nanoseconds; some drivers let the clock step back now and then.
        sum.seconds += Math.max(0, Number((times[2 * i + 1] ?? 0n) - (times[2 * i] ?? 0n))) * 1e-9;
        sum.bytes += cost?.bytes ?? 0;
        sum.operations += cost?.operations ?? 0;
      });
    } finally {
      staging.destroy();
      resolved.destroy();
      querySet.destroy();
    }
  }
}
