/** The transpose on the CPU. A task is four rows of the result: four columns of x, read four rows at a time. */
import { store4 } from "../simd.inline.as";

@unmanaged
class TransposeArgs {
  /** [rows, stride]. */
  x: usize;
  /** [rowsOut, columnsOut]. */
  y: usize;
  rows: i32;
  columns: i32;
  stride: i32;
  rowsOut: i32;
  columnsOut: i32;
}

export function transpose(args: usize, begin: i32, end: i32, worker: i32): void {
  const a = changetype<TransposeArgs>(args);
  const strideBytes = (<usize>a.stride) << 2;
  const outBytes = (<usize>a.columnsOut) << 2;
  for (let task = begin; task < end; task++) {
    const first = task * 4;
    const last = min(first + 4, a.rowsOut);
    const isWhole = first + 4 <= a.columns;
    let r = 0;
    if (isWhole) {
      let x = a.x + ((<usize>first) << 2);
      let y = a.y + <usize>first * outBytes;
      for (; r + 4 <= a.rows; r += 4) {
        const r0 = v128.load(x);
        const r1 = v128.load(x + strideBytes);
        const r2 = v128.load(x + 2 * strideBytes);
        const r3 = v128.load(x + 3 * strideBytes);
        const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
        const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
        const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
        const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
        v128.store(y, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5));
        v128.store(y + outBytes, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7));
        v128.store(y + 2 * outBytes, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5));
        v128.store(y + 3 * outBytes, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7));
        x += 4 * strideBytes;
        y += 16;
      }
    }
    for (let c = first; c < last; c++) {
      const y = a.y + <usize>c * outBytes;
      let i = r;
      if (c < a.columns) {
        for (; i < a.rows; i++) store<f32>(y + ((<usize>i) << 2), load<f32>(a.x + <usize>i * strideBytes + ((<usize>c) << 2)));
      } else {
        i = 0;
      }
      for (; i < a.columnsOut; i += 4) store4(y + ((<usize>i) << 2), f32x4.splat(0), a.columnsOut - i);
    }
  }
}
