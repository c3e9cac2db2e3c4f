/** Rendered prompts of the MiniMax-M1 release's chat template. */
import { z } from "zod";
import type { Device } from "../../device/index.js";
import { directoryFolder } from "../../formats/node/index.js";
import { type ChatMessage, createMinimaxM1ChatTemplate } from "../../text/index.js";
import type { Check } from "./compare.js";
import { parseReference } from "./goldens-file.js";

const schema = z.looseObject({
  cases: z.array(
    z.looseObject({
      name: z.string(),
      messages: z.array(z.looseObject({ role: z.string() })),
      tools: z.array(z.unknown()).nullish(),
      add_generation_prompt: z.boolean(),
      prompt: z.string(),
    }),
  ),
});

export async function* checkChatTemplates(_device: Device, dir: string): AsyncGenerator<Check> {
  const template = createMinimaxM1ChatTemplate();
  const file = "minimax_m1.json";
  const { cases } = parseReference(schema, await directoryFolder(dir).readJson(file), `${dir}/${file}`);
  for (const { name, messages, tools, add_generation_prompt, prompt } of cases) {
    // The template checks the messages itself.
    const rendered = template.render(messages as unknown as ChatMessage[], {
      addGenerationPrompt: add_generation_prompt,
      ...(tools ? { tools } : {}),
    });
    const passed = rendered === prompt;
    yield {
      name: `chat template ${name}`,
      passed,
      detail: passed ? "equal" : `got ${JSON.stringify(rendered.slice(0, 120))}`,
    };
  }
}
