/** Columns of a matrix from one place to another. A task is a row. */

@unmanaged
class ColumnsArgs {
  x: usize;
  y: usize;
  width: i32;
  fromStride: i32;
  fromFirst: i32;
  toStride: i32;
  toFirst: i32;
}

export function copyColumns(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<ColumnsArgs>(args);
  for (let row = begin; row < end; row++) {
    const from = g.x + ((<usize>row * <usize>g.fromStride + <usize>g.fromFirst) << 2);
    const to = g.y + ((<usize>row * <usize>g.toStride + <usize>g.toFirst) << 2);
    memory.copy(to, from, (<usize>g.width) << 2);
  }
}
