/** Kernels of the device itself: they move and set bytes. */

@unmanaged
class CopyArgs {
  src: usize;
  dst: usize;
  bytes: usize;
  /** Bytes of a task. */
  block: usize;
}

/** Copies bytes, a block a task. Ranges that overlap need one block for all (memory.copy minds the direction). */
export function copyBytes(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<CopyArgs>(args);
  const from = <usize>begin * g.block;
  const to = min(<usize>end * g.block, g.bytes);
  memory.copy(g.dst + from, g.src + from, to - from);
}

@unmanaged
class ClearArgs {
  dst: usize;
  bytes: usize;
  block: usize;
}

/** Sets bytes to zero, a block a task. */
export function clearBytes(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<ClearArgs>(args);
  const from = <usize>begin * g.block;
  const to = min(<usize>end * g.block, g.bytes);
  memory.fill(g.dst + from, 0, to - from);
}

@unmanaged
class StreamReadArgs {
  src: usize;
  bytes: usize;
  /** Bytes of a task, a multiple of 64. */
  block: usize;
  /** One i64 for each task. */
  sums: usize;
}

/** Reads bytes as fast as the memory gives them, a block a task: the roof that benchmarks measure against. */
export function streamRead(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<StreamReadArgs>(args);
  for (let task = begin; task < end; task++) {
    const from = g.src + <usize>task * g.block;
    const to = min(from + g.block, g.src + g.bytes) & ~63;
    let a = i64x2.splat(0);
    let b = i64x2.splat(0);
    let c = i64x2.splat(0);
    let d = i64x2.splat(0);
    for (let at = from; at < to; at += 64) {
      a = i64x2.add(a, v128.load(at));
      b = i64x2.add(b, v128.load(at, 16));
      c = i64x2.add(c, v128.load(at, 32));
      d = i64x2.add(d, v128.load(at, 48));
    }
    const sum = i64x2.add(i64x2.add(a, b), i64x2.add(c, d));
    // Stored, so that no compiler finds the loads useless.
    store<i64>(g.sums + (<usize>task << 3), i64x2.extract_lane(sum, 0) + i64x2.extract_lane(sum, 1));
  }
}
