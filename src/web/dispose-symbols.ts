/**
 * `Symbol.dispose` and `Symbol.asyncDispose` for browsers that lack them (Safari, Firefox before 141). Import it before the
 * engine: its classes name their methods by these symbols.
 */
const symbols = Symbol as unknown as { dispose?: symbol; asyncDispose?: symbol }; // read-only, and always there, in the types
symbols.dispose ??= Symbol.for("Symbol.dispose");
symbols.asyncDispose ??= Symbol.for("Symbol.asyncDispose");
