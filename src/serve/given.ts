/** Options from outside know "not given" as undefined; the library's options know it as absent. */

export type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The entries that are not undefined. */
export function given<T extends object>(options: T): Given<T> {
  // Only entries were left out, and those left are not undefined.
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Given<T>;
}
