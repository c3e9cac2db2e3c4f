/** `packedEnd` of format.ts in WGSL; `block`: tokens that are packed together. */
export const packedEndWgsl = /* wgsl */ `
fn packedEnd(sinks: i32, recent: i32, block: i32, length: i32, floor: i32) -> i32 {
  let start = max(sinks, floor);
  let old = length - start - recent;
  return select(max(floor, min(length, sinks)), start + old / block * block, old >= block);
}`;
