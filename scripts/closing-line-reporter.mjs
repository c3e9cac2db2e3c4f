/** Vitest reporter: the run ends with one plain line, "N passed, M failed, K skipped", and fails when nothing ran. */
export default class ClosingLineReporter {
  onTestRunEnd(modules) {
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const state = test.result().state;
        if (state in count) count[state] += 1;
      }
      // A file that fails to load holds no tests, and must not pass for an empty one.
      if (module.state() === "failed" && [...module.children.allTests()].every((t) => t.result().state !== "failed")) {
        count.failed += 1;
      }
    }
    if (count.passed + count.failed === 0) process.exitCode = 1;
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
  }
}
