/** Scopes: a stack of lists of resources, freed when their function ends unless they are its result. */

export class ScopeStack {
  private readonly stack: Set<Disposable>[] = [];

  track(resource: Disposable): void {
    this.stack.at(-1)?.add(resource);
  }

  scope<T>(f: () => T): T {
    const resources = new Set<Disposable>();
    this.stack.push(resources);
    let result: T;
    try {
      result = f();
    } catch (error) {
      this.leave(resources, new Set());
      throw error;
    }
    if (result instanceof Promise) {
      const settled = result.then(
        (value: unknown) => {
          this.leave(resources, resourcesIn(value));
          return value;
        },
        (error: unknown) => {
          this.leave(resources, new Set());
          throw error;
        },
      );
      // The caller awaits the same type of promise that `f` returned.
      return settled as T;
    }
    this.leave(resources, resourcesIn(result));
    return result;
  }

  /** Results move to the scope outside; all else is freed. */
  private leave(resources: Set<Disposable>, kept: ReadonlySet<unknown>): void {
    const at = this.stack.indexOf(resources);
    if (at < 0) throw new Error("internal: a scope was left twice");
    this.stack.splice(at, 1);
    const outer = at > 0 ? this.stack[at - 1] : undefined;
    for (const resource of resources) {
      if (kept.has(resource)) outer?.add(resource);
      else resource[Symbol.dispose]();
    }
  }
}

function resourcesIn(value: unknown, found = new Set<unknown>()): Set<unknown> {
  if (typeof value !== "object" || value === null || found.has(value)) return found;
  found.add(value);
  if (Array.isArray(value)) for (const item of value) resourcesIn(item, found);
  else if (value instanceof Map) for (const item of value.values()) resourcesIn(item, found);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) resourcesIn(item, found);
  }
  return found;
}
