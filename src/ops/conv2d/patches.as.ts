/** Patches of images on the CPU. A task is a row of the result. */

@unmanaged
class PatchesArgs {
  x: usize;
  y: usize;
  channels: i32;
  height: i32;
  width: i32;
  kernelHeight: i32;
  kernelWidth: i32;
  /** Of the convolution. */
  step: i32;
  padding: i32;
  outHeight: i32;
  outWidth: i32;
  /** Image. */
  first: i32;
  /** Patches, or pixels. */
  extent: i32;
  /** Of the result's rows. */
  stride: i32;
}

/** [patches, C · U · V]. */
export function convPatchRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<PatchesArgs>(args);
  const plane = ((<usize>a.height * <usize>a.width) << 2);
  for (let n = begin; n < end; n++) {
    const left = (n % a.outWidth) * a.step - a.padding;
    const top = ((n / a.outWidth) % a.outHeight) * a.step - a.padding;
    const image = n / (a.outWidth * a.outHeight) + a.first;
    let x = a.x + <usize>image * <usize>a.channels * plane;
    let y = a.y + ((<usize>n * <usize>a.stride) << 2);
    if (left >= 0 && left + a.kernelWidth <= a.width && top >= 0 && top + a.kernelHeight <= a.height) {
      // Most patches lie inside: nothing to ask for each number.
      x += (<usize>(top * a.width + left)) << 2;
      for (let c = 0; c < a.channels; c++) {
        let line = x;
        for (let u = 0; u < a.kernelHeight; u++) {
          for (let v = 0; v < a.kernelWidth; v++) {
            store<f32>(y, load<f32>(line + ((<usize>v) << 2)));
            y += 4;
          }
          line += (<usize>a.width) << 2;
        }
        x += plane;
      }
      continue;
    }
    for (let c = 0; c < a.channels; c++) {
      for (let u = 0; u < a.kernelHeight; u++) {
        const row = top + u;
        const isRow = row >= 0 && row < a.height;
        const line = x + ((<usize>(isRow ? row : 0) * <usize>a.width) << 2);
        for (let v = 0; v < a.kernelWidth; v++) {
          const column = left + v;
          const isIn = isRow && column >= 0 && column < a.width;
          store<f32>(y, isIn ? load<f32>(line + ((<usize>column) << 2)) : <f32>0);
          y += 4;
        }
      }
      x += plane;
    }
  }
}

/** [C · U · V, patches], zeros behind. */
export function convPatchColumns(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<PatchesArgs>(args);
  const images = a.extent / (a.outWidth * a.outHeight);
  for (let k = begin; k < end; k++) {
    const v = k % a.kernelWidth;
    const u = (k / a.kernelWidth) % a.kernelHeight;
    const c = k / (a.kernelWidth * a.kernelHeight);
    let y = a.y + ((<usize>k * <usize>a.stride) << 2);
    for (let image = a.first; image < a.first + images; image++) {
      const plane = a.x + ((<usize>(image * a.channels + c) * <usize>a.height * <usize>a.width) << 2);
      for (let i = 0; i < a.outHeight; i++) {
        const row = i * a.step + u - a.padding;
        const isRow = row >= 0 && row < a.height;
        const line = plane + ((<usize>(isRow ? row : 0) * <usize>a.width) << 2);
        let column = v - a.padding;
        for (let j = 0; j < a.outWidth; j++) {
          const isIn = isRow && column >= 0 && column < a.width;
          store<f32>(y, isIn ? load<f32>(line + ((<usize>column) << 2)) : <f32>0);
          y += 4;
          column += a.step;
        }
      }
    }
    memory.fill(y, 0, (<usize>(a.stride - a.extent)) << 2);
  }
}

/** x: gradients of patches [patches, C · U · V]; y: of images. A task is a row of pixels. */
export function convGather(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<PatchesArgs>(args);
  const depth = a.channels * a.kernelHeight * a.kernelWidth;
  for (let task = begin; task < end; task++) {
    const row = (task % a.height) + a.padding;
    const c = (task / a.height) % a.channels;
    const image = task / (a.height * a.channels);
    let y = a.y + ((<usize>(a.first * a.channels * a.height + task) * <usize>a.width) << 2);
    // The places (i, j) whose patches hold the pixel go down by one as the kernel's (u, v) go up by a step.
    const lastI = row / a.step;
    const firstU = row - lastI * a.step;
    const patchBytes = (<usize>depth) << 2;
    const x = a.x + ((<usize>(c * a.kernelHeight * a.kernelWidth)) << 2);
    for (let column = a.padding; column < a.width + a.padding; column++) {
      const lastJ = column / a.step;
      const firstV = column - lastJ * a.step;
      let sum: f32 = 0;
      let i = lastI;
      for (let u = firstU; u < a.kernelHeight && i >= 0; u += a.step, i--) {
        if (i >= a.outHeight) continue;
        const line = x + <usize>((image * a.outHeight + i) * a.outWidth) * patchBytes + ((<usize>(u * a.kernelWidth)) << 2);
        let j = lastJ;
        for (let v = firstV; v < a.kernelWidth && j >= 0; v += a.step, j--) {
          if (j < a.outWidth) sum += load<f32>(line + <usize>j * patchBytes + ((<usize>v) << 2));
        }
      }
      store<f32>(y, sum);
      y += 4;
    }
  }
}
