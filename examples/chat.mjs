/** The README's example as a program: `node examples/chat.mjs` after `npm run build`. Without `using`, which Node 20 cannot parse. */
import { chat, loadModel, open } from "fulgur";

const device = await open({ prefer: process.argv[2] ?? "auto" });
const model = await loadModel(new URL("../models/fulgur-mini", import.meta.url).pathname, { device });
try {
  const question = [{ role: "user", content: "If today is Friday, what day is it in 10 days?" }];
  for await (const part of chat(model, question, { thinkingBudget: 512 })) {
    if (part.kind === "answer") process.stdout.write(part.text);
  }
  process.stdout.write("\n");
} finally {
  await model.close();
  await device.close();
}
