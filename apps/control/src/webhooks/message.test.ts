/** The documentation's examples are what is sent. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { toWebhookMessage } from "./message.ts";

const page = readFileSync(new URL("../../../../docs/webhooks.md", import.meta.url), "utf8");
const examples = [...page.matchAll(/```json\n(.*?)\n```/gs)].map(([, text = ""]) => JSON.parse(text));

describe("docs/webhooks.md", () => {
  it("has an example of every topic", () => {
    const topics = [
      "dead_letters.grew",
      "import.stopped",
      "pipeline.blocked",
      "pipeline.paused",
      "pipeline.unblocked",
      "retention.blocked",
      "retention.unblocked",
      "test",
    ];
    expect(new Set(examples.map(({ type }) => type))).toEqual(new Set(topics));
  });

  it.each(examples.map((example) => [example.type, example] as const))("shows %s as it is sent", (topic, example) => {
    const { pipeline = "", sentence, ...detail } = example.data;
    const notice = { id: 1n, topic, pipeline, subject: "", detail: JSON.stringify(detail), createdAt: new Date(example.timestamp) };
    expect(JSON.parse(toWebhookMessage(notice).body)).toEqual(example);
    expect(sentence).toBe(example.text);
  });
});
