/** Stands in for the library's Node modules in the page's bundle (see vite.config.ts). */

export function directoryFolder(path: string): never {
  throw new Error(`a page cannot read the folder ${path}: give the model's address instead`);
}

/** The page's threads come from threads-web. */
export const platform = undefined;
