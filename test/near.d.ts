/** Distances between arrays of numbers, and an expectation that names the worst place. */
/** √(Σ(a − b)² / Σb²); b is the reference. For a reference of zeros: √(Σa²). */
export declare function relativeRms(a: ArrayLike<number>, b: ArrayLike<number>): number;
/** The largest |a − b|; NaN if any difference is. */
export declare function maxAbs(a: ArrayLike<number>, b: ArrayLike<number>): number;
export interface Tolerance {
    /** Bound of `maxAbs`. */
    readonly absolute?: number;
    /** Bound of `relativeRms`. */
    readonly relativeRms?: number;
}
/** Throws unless `actual` is as near to `expected` as every given tolerance says; NaN and infinities match only themselves. */
export declare function expectNear(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: Tolerance): void;
