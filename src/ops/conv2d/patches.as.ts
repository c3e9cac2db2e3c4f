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
  /** Patch of all images. */
  first: i32;
  /** Patches. */
  count: i32;
  /** Of the result's rows. */
  stride: i32;
}

/** [patches, C · U · V]. */
export function convPatchRows(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<PatchesArgs>(args);
  const plane = ((<usize>a.height * <usize>a.width) << 2);
  for (let task = begin; task < end; task++) {
    const n = a.first + task;
    const left = (n % a.outWidth) * a.step - a.padding;
    const top = ((n / a.outWidth) % a.outHeight) * a.step - a.padding;
    const image = n / (a.outWidth * a.outHeight);
    let x = a.x + <usize>image * <usize>a.channels * plane;
    let y = a.y + ((<usize>task * <usize>a.stride) << 2);
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
  for (let k = begin; k < end; k++) {
    const v = k % a.kernelWidth;
    const u = (k / a.kernelWidth) % a.kernelHeight;
    const c = k / (a.kernelWidth * a.kernelHeight);
    let y = a.y + ((<usize>k * <usize>a.stride) << 2);
    // Row of places after row of places; the first and the last may be parts.
    let j = a.first % a.outWidth;
    let i = (a.first / a.outWidth) % a.outHeight;
    let image = a.first / (a.outWidth * a.outHeight);
    for (let left = a.count; left > 0; ) {
      const row = i * a.step + u - a.padding;
      const isRow = row >= 0 && row < a.height;
      const line = a.x + ((<usize>((image * a.channels + c) * a.height + (isRow ? row : 0)) * <usize>a.width) << 2);
      const last = min(a.outWidth, j + left);
      left -= last - j;
      let column = j * a.step + v - a.padding;
      for (; j < last; j++) {
        const isIn = isRow && column >= 0 && column < a.width;
        store<f32>(y, isIn ? load<f32>(line + ((<usize>column) << 2)) : <f32>0);
        y += 4;
        column += a.step;
      }
      j = 0;
      if (++i == a.outHeight) {
        i = 0;
        image++;
      }
    }
    memory.fill(y, 0, (<usize>(a.stride - a.count)) << 2);
  }
}

/** x: gradients of patches [patches, C · U · V]; y: of images. A task is a row of pixels. */
export function convGather(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<PatchesArgs>(args);
  const depth = a.channels * a.kernelHeight * a.kernelWidth;
  const firstImage = a.first / (a.outWidth * a.outHeight);
  const adds = a.first % (a.outWidth * a.outHeight) != 0;
  for (let task = begin; task < end; task++) {
    const row = (task % a.height) + a.padding;
    const c = (task / a.height) % a.channels;
    const image = task / (a.height * a.channels) + firstImage;
    let y = a.y + ((<usize>(firstImage * a.channels * a.height + task) * <usize>a.width) << 2);
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
        const place = (image * a.outHeight + i) * a.outWidth - a.first;
        const line = x + ((<usize>(u * a.kernelWidth)) << 2);
        let j = lastJ;
        for (let v = firstV; v < a.kernelWidth && j >= 0; v += a.step, j--) {
          const n = place + j;
          if (j < a.outWidth && n >= 0 && n < a.count) sum += load<f32>(line + <usize>n * patchBytes + ((<usize>v) << 2));
        }
      }
      store<f32>(y, adds ? load<f32>(y) + sum : sum);
      y += 4;
    }
  }
}
