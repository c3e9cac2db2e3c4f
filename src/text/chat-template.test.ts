import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { ChatMessage, RenderOptions } from "./chat-messages.js";
import { chatTemplateFromConfig, createChatTemplate } from "./chat-template.js";
import { createMinimaxM1ChatTemplate } from "./minimax-m1-chat.js";

const url = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const readJson = (path: string) => JSON.parse(readFileSync(url(path), "utf8"));
const fixture = (name: string) => readJson(`test/fixtures/text/${name}`);

interface ChatCase {
  messages: ChatMessage[];
  options: { add_generation_prompt: boolean; enable_thinking?: boolean };
  text: string;
}

const asOptions = ({ options }: ChatCase): RenderOptions => ({
  addGenerationPrompt: options.add_generation_prompt,
  ...(options.enable_thinking === undefined ? {} : { enableThinking: options.enable_thinking }),
});

const fulgurConfig = "models/fulgur-mini/tokenizer_config.json";

test.skipIf(!existsSync(url(fulgurConfig)))("fulgur-mini's template renders as Jinja2 does", () => {
  const template = chatTemplateFromConfig(readJson(fulgurConfig));
  const cases: ChatCase[] = fixture("chat-fulgur.json").cases;
  expect(cases).toHaveLength(16);
  for (const each of cases) expect(template?.render(each.messages, asOptions(each))).toBe(each.text);
});

describe("Qwen3's template", () => {
  const { cases, template: source }: { cases: ChatCase[]; template: string } = fixture("chat-qwen3.json");
  const template = createChatTemplate({ template: source });

  test("renders as Jinja2 does", () => {
    expect(cases).toHaveLength(16);
    for (const each of cases) expect(template.render(each.messages, asOptions(each))).toBe(each.text);
  });

  test("content as parts gives the same", () => {
    for (const each of cases) {
      const messages = each.messages.map((message) => {
        const text = String(message.content);
        return {
          ...message,
          content: [
            { type: "text", text: text.slice(0, 3) },
            { type: "text", text: text.slice(3) },
          ],
        };
      });
      expect(template.render(messages, asOptions(each))).toBe(each.text);
    }
  });

  test("tools are listed, and a message of calls needs no content", () => {
    const text = template.render(
      [
        { role: "user", content: "Time?" },
        {
          role: "assistant",
          tool_calls: [{ type: "function", function: { name: "now", arguments: { zone: "UTC" } } }],
        },
      ],
      { tools: [{ type: "function", function: { name: "now" } }] },
    );
    expect(text).toContain('<tools>\n{"type": "function", "function": {"name": "now"}}\n</tools>');
    expect(text).toContain('<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>');
  });
});

describe("createChatTemplate", () => {
  test("block lines leave no blanks or newlines behind", () => {
    const template = createChatTemplate({
      template:
        "{% for m in messages %}\n  {% if true %}\n{{ m.role }}:{{ m.content }}\n  {% endif %}\n{% endfor %}\nend",
    });
    expect(template.render([{ role: "user", content: "a" }])).toBe("user:a\nend");
  });

  test("a template that reads parts gets parts", () => {
    const template = createChatTemplate({
      template: "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }};{% endfor %}{% endfor %}",
    });
    expect(template.render([{ role: "user", content: "a" }])).toBe("a;");
    expect(
      template.render([
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
      ]),
    ).toBe("a;b;");
  });

  test("variables: tokens, thinking, tools", () => {
    const template = createChatTemplate({
      template:
        "{{ bos_token }}{{ eos_token }} {{ tools is none }} {{ enable_thinking is defined }} {{ who }}{{ messages | length }}",
      bosToken: "<s>",
      eosToken: "</s>",
      variables: { who: "me" },
    });
    expect(template.render([])).toBe("<s></s> true false me0");
    expect(template.render([], { enableThinking: false, tools: [{}] })).toBe("<s></s> false true me0");
  });

  test("named templates and token objects in tokenizer_config.json", () => {
    const config = {
      bos_token: { content: "<s>" },
      chat_template: [
        { name: "default", template: "{{ bos_token }}" },
        { name: "tool_use", template: "tools" },
      ],
    };
    expect(chatTemplateFromConfig(config)?.render([])).toBe("<s>");
    expect(chatTemplateFromConfig(config, "tool_use")?.render([])).toBe("tools");
    expect(chatTemplateFromConfig({})).toBeUndefined();
    expect(() => chatTemplateFromConfig(config, "rag")).toThrow(
      'chat_template has no "rag"; it has default, tool_use.',
    );
  });

  const template = createChatTemplate({ template: "{% for m in messages %}{{ m.content }}{% endfor %}" });
  const faults: [unknown, string][] = [
    ["hello", 'chat: messages expected a list, got "hello".'],
    [["hello"], 'chat: messages[0] expected an object, got "hello".'],
    [[{ content: "a" }], "chat: messages[0].role expected text such as user, got nothing."],
    [[{ role: "user" }], "chat: messages[0].content expected text or a list of parts, got nothing."],
    [[{ role: "user", content: 7 }], "chat: messages[0].content expected text or a list of parts, got 7."],
    [
      [{ role: "user", content: ["a"] }],
      'chat: messages[0].content[0] expected a part such as {"type": "text", "text": …}, got "a".',
    ],
    [[{ role: "user", content: [{ type: "text" }] }], "chat: messages[0].content[0].text expected text, got nothing."],
    [
      [{ role: "user", content: [{ type: "image" }] }],
      'chat: messages[0].content[0].type expected "text" (this template reads text alone), got "image".',
    ],
  ];
  test.each(faults)("malformed messages %j", (messages, error) => {
    // The wrong types are the point of this test.
    expect(() => template.render(messages as ChatMessage[])).toThrow(error);
  });

  test("a template that does not parse, or refuses", () => {
    expect(() => createChatTemplate({ template: "{% for %}" })).toThrow("chat template: does not parse: ");
    const picky = createChatTemplate({ template: "{{ raise_exception('roles must alternate') }}" });
    expect(() => picky.render([])).toThrow("chat template: refuses this conversation: roles must alternate.");
  });
});

describe("MiniMax-M1's template", () => {
  interface GoldenCase {
    name: string;
    messages: ChatMessage[];
    tools?: unknown[];
    add_generation_prompt: boolean;
    prompt: string;
  }
  const cases: GoldenCase[] = fixture("minimax_m1.json").cases;
  const release = createMinimaxM1ChatTemplate();

  test.each(cases)("release: $name", ({ messages, tools, add_generation_prompt, prompt }) => {
    const options = { addGenerationPrompt: add_generation_prompt, ...(tools === undefined ? {} : { tools }) };
    expect(release.render(messages, options)).toBe(prompt);
  });

  test("release: text content, wrapped tools and structured calls give what parts, flat tools and text give", () => {
    const golden = cases.find(({ name }) => name === "tool_result");
    const messages = [
      { role: "user", content: "Weather?" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "1", type: "function", function: { name: "get_weather", arguments: '{"city":"Rome"}' } }],
      },
      { role: "tool", tool_call_id: "1", content: '{"t": 25}' },
    ];
    const tools = (golden?.tools ?? []).map((tool) => ({ type: "function", function: tool }));
    expect(release.render(messages, { addGenerationPrompt: true, tools })).toBe(golden?.prompt);
  });

  test("vLLM's wording", () => {
    const vllm = createMinimaxM1ChatTemplate({ wording: "vllm" });
    const messages = [
      { role: "user", content: " Time? " },
      { role: "assistant", content: "", tool_calls: [{ function: { name: "now", arguments: {} } }] },
      { role: "tool", content: "noon" },
    ];
    expect(vllm.render(messages, { addGenerationPrompt: true, tools: [{ name: "now" }] })).toMatchInlineSnapshot(`
      "<begin_of_document><beginning_of_sentence>system ai_setting=MiniMax AI
      You are a helpful assistant created by Minimax based on MiniMax-M1 model.<end_of_sentence>
      <beginning_of_sentence>system tool_setting=tools
      You are provided with these tools:
      <tools>
      {"name": "now"}
      </tools>

      If you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide tool-name and json-object of arguments, following the format below:
      <tool_calls>
      {"name": <tool-name>, "arguments": <args-json-object>}
      ...
      </tool_calls><end_of_sentence>
      <beginning_of_sentence>user name=user
      Time?<end_of_sentence>
      <beginning_of_sentence>ai name=MiniMax AI
      <tool_calls>
      {"name": "now", "arguments": {}}
      </tool_calls><end_of_sentence>
      <beginning_of_sentence>tool name=tools
      tool result: noon

      <end_of_sentence>
      <beginning_of_sentence>ai name=MiniMax AI
      "
    `);
    expect(() => vllm.render([...messages, { role: "system", content: "x" }])).toThrow(
      "takes one system message, the first",
    );
  });

  test("malformed conversations", () => {
    expect(() => release.render([{ role: "robot", content: "x" }])).toThrow(
      'messages[0].role expected system, user, assistant or tool, got "robot".',
    );
    expect(() => release.render([{ role: "tool", content: "x" }])).toThrow("messages[0].name expected the tool's name");
    expect(() => release.render([{ role: "user", content: [{ type: "image" }] }])).toThrow('got "image"');
  });
});
