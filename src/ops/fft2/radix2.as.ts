/**
 * Fourier transforms of lines on the CPU, radix 2. A task is eight lines: their numbers lie side by side in scratch memory, real parts and
 * imaginary parts apart, so that every step of the transform is the same for whole vectors, whichever way the lines lie in the image.
 */

const LINES: i32 = 8;

@unmanaged
class FftRadix2Args {
  x: usize;
  y: usize;
  /** [N / 2]: exp(−2πi j / N). */
  twiddles: usize;
  scratch: usize;
  workerBytes: i32;
  length: i32;
  log: i32;
  lines: i32;
  inner: i32;
  outer: i32;
  step: i32;
  centred: i32;
  scale: f32;
  /** 1 forward, −1 inverse. */
  direction: f32;
}

/** Where line l begins, in bytes. */
// @ts-ignore: decorator
@inline
function startOf(a: FftRadix2Args, l: i32): usize {
  return <usize>((l / a.inner) * a.outer + (l % a.inner)) << 3;
}

export function fftRadix2(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<FftRadix2Args>(args);
  const scratch = a.scratch + <usize>worker * <usize>a.workerBytes;
  const n = a.length;
  const stepBytes = (<usize>a.step) << 3;
  for (let task = begin; task < end; task++) {
    const firstLine = task * LINES;
    const count = min(LINES, a.lines - firstLine);
    // Number i of scratch is number reverse(i) of the lines: 64 bytes, eight real parts and eight imaginary parts.
    for (let l = 0; l < LINES; l++) {
      const isThere = l < count;
      const line = a.x + (isThere ? startOf(a, firstLine + l) : 0);
      let to = scratch + ((<usize>l) << 2);
      let reversed: u32 = 0;
      for (let i = 0; i < n; i++) {
        let real: f32 = 0;
        let imaginary: f32 = 0;
        if (isThere) {
          const from = line + <usize>reversed * stepBytes;
          real = load<f32>(from);
          imaginary = load<f32>(from, 4);
          if ((<i32>reversed & a.centred) == 1) {
            real = -real;
            imaginary = -imaginary;
          }
        }
        store<f32>(to, real);
        store<f32>(to, imaginary, 32);
        to += 64;
        // The reversed number counts up from its highest bit.
        let bit: u32 = <u32>n >> 1;
        while (bit > 0 && (reversed & bit) != 0) {
          reversed ^= bit;
          bit >>= 1;
        }
        reversed |= bit;
      }
    }
    for (let stage = 0; stage < a.log; stage++) {
      const half = 1 << stage;
      const halfBytes = (<usize>half) << 6;
      for (let j = 0; j < half; j++) {
        const w = a.twiddles + ((<usize>(j << (a.log - 1 - stage))) << 3);
        const wr = f32x4.splat(load<f32>(w));
        const wi = f32x4.splat(a.direction * load<f32>(w, 4));
        for (let i = j; i < n; i += 2 * half) {
          const p = scratch + ((<usize>i) << 6);
          const q = p + halfBytes;
          for (let v: usize = 0; v < 32; v += 16) {
            const br = v128.load(q + v);
            const bi = v128.load(q + v, 32);
            const cr = f32x4.sub(f32x4.mul(wr, br), f32x4.mul(wi, bi));
            const ci = f32x4.add(f32x4.mul(wr, bi), f32x4.mul(wi, br));
            const ar = v128.load(p + v);
            const ai = v128.load(p + v, 32);
            v128.store(p + v, f32x4.add(ar, cr));
            v128.store(p + v, f32x4.add(ai, ci), 32);
            v128.store(q + v, f32x4.sub(ar, cr));
            v128.store(q + v, f32x4.sub(ai, ci), 32);
          }
        }
      }
    }
    for (let l = 0; l < count; l++) {
      let to = a.y + startOf(a, firstLine + l);
      let from = scratch + ((<usize>l) << 2);
      for (let k = 0; k < n; k++) {
        const scale = (k & a.centred) == 1 ? -a.scale : a.scale;
        store<f32>(to, scale * load<f32>(from));
        store<f32>(to, scale * load<f32>(from, 32), 4);
        to += stepBytes;
        from += 64;
      }
    }
  }
}
