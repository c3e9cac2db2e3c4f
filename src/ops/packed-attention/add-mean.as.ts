/** CPU kernel of addMean, see add-mean.ts. A task is a token. */
@unmanaged
class AddMeanArgs {
  out: usize;
  mean: usize;
  tokens: usize;
  heads: i32;
  headDim: i32;
  perGroup: i32;
}

export function packedAddMean(args: usize, begin: i32, end: i32, worker: i32): void {
  const g = changetype<AddMeanArgs>(args);
  const bytes = <usize>g.headDim << 2;
  for (let t = begin; t < end; t++) {
    if (load<i32>(g.tokens + (<usize>t << 4), 12) < 0) continue;
    for (let h = 0; h < g.heads; h++) {
      const x = g.out + <usize>(t * g.heads + h) * bytes;
      const mean = g.mean + <usize>(h / g.perGroup) * bytes;
      for (let c: usize = 0; c < bytes; c += 16) v128.store(x + c, f32x4.add(v128.load(x + c), v128.load(mean + c)));
    }
  }
}
