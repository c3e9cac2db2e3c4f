/** Up-sampling and pooling on the CPU. A task is a row of the result. */

@unmanaged
class ResampleArgs {
  x: usize;
  y: usize;
  /** Of the result's rows. */
  width: i32;
  factor: i32;
  scale: f32;
}

export function resampleSpread(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<ResampleArgs>(args);
  const from = a.width / a.factor;
  for (let row = begin; row < end; row++) {
    const x = a.x + ((<usize>(row / a.factor) * <usize>from) << 2);
    let y = a.y + ((<usize>row * <usize>a.width) << 2);
    for (let j = 0; j < from; j++) {
      const value = a.scale * load<f32>(x + ((<usize>j) << 2));
      for (let c = 0; c < a.factor; c++) {
        store<f32>(y, value);
        y += 4;
      }
    }
  }
}

export function resamplePool(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<ResampleArgs>(args);
  const from = (<usize>a.width * <usize>a.factor) << 2;
  for (let row = begin; row < end; row++) {
    let x = a.x + <usize>row * <usize>a.factor * from;
    let y = a.y + ((<usize>row * <usize>a.width) << 2);
    for (let j = 0; j < a.width; j++) {
      let sum: f32 = 0;
      for (let r = 0; r < a.factor; r++) {
        for (let c = 0; c < a.factor; c++) sum += load<f32>(x + <usize>r * from + ((<usize>c) << 2));
      }
      store<f32>(y, a.scale * sum);
      x += (<usize>a.factor) << 2;
      y += 4;
    }
  }
}
