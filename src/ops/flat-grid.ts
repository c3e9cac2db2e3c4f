/** Kernels of one thread an element: the grid, and the thread's element. */

const workgroup = 64;
// The most that WebGPU promises for a dimension of the grid.
const widest = 65_535;

/** A grid of workgroups for so many elements, folded over x and y. */
export function flatGrid(elements: number): [number, number] {
  const groups = Math.ceil(elements / workgroup);
  const width = Math.min(groups, widest);
  return [width, Math.ceil(groups / width)];
}

/** The head of the entry point: `i` is the thread's element; threads beyond `p.elements` have returned. */
export const flatMain = /* wgsl */ `
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * ${workgroup}u + lane;
  if (i >= p.elements) { return; }`;
