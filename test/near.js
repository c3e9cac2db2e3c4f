/** Distances between arrays of numbers, and an expectation that names the worst place. */
/** √(Σ(a − b)² / Σb²); b is the reference. For a reference of zeros: √(Σa²). */
export function relativeRms(a, b) {
    assertSameLength(a, b);
    let error = 0;
    let norm = 0;
    for (let i = 0; i < b.length; i++) {
        error += (Number(a[i]) - Number(b[i])) ** 2;
        norm += Number(b[i]) ** 2;
    }
    return Math.sqrt(norm === 0 ? error : error / norm);
}
/** The largest |a − b|; NaN if any difference is. */
export function maxAbs(a, b) {
    return worst(a, b).error;
}
/** Throws unless `actual` is as near to `expected` as every given tolerance says; NaN and infinities match only themselves. */
export function expectNear(actual, expected, tolerance) {
    if (tolerance.absolute === undefined && tolerance.relativeRms === undefined) {
        throw new TypeError("expectNear: give absolute or relativeRms");
    }
    const { index, error } = worst(actual, expected);
    const problems = [];
    if (tolerance.absolute !== undefined && !(error <= tolerance.absolute)) {
        problems.push(`largest error ${error} > ${tolerance.absolute}`);
    }
    if (tolerance.relativeRms !== undefined) {
        const rms = relativeRms(actual, expected);
        // Equal infinities give NaN, though nothing differs.
        if (!(rms <= tolerance.relativeRms) && error !== 0)
            problems.push(`relative RMS ${rms} > ${tolerance.relativeRms}`);
    }
    if (problems.length === 0)
        return;
    throw new Error(`${problems.join(", ")}; worst at index ${index} of ${expected.length}: got ${actual[index]}, expected ${expected[index]}`);
}
function worst(a, b) {
    assertSameLength(a, b);
    let index = 0;
    let error = 0;
    for (let i = 0; i < b.length; i++) {
        if (Object.is(a[i], b[i]))
            continue;
        const difference = Math.abs(Number(a[i]) - Number(b[i]));
        if (Number.isNaN(difference))
            return { index: i, error: Number.NaN };
        if (difference > error) {
            index = i;
            error = difference;
        }
    }
    return { index, error };
}
function assertSameLength(a, b) {
    if (a.length !== b.length)
        throw new RangeError(`lengths differ: got ${a.length}, expected ${b.length}`);
}
//# sourceMappingURL=near.js.map