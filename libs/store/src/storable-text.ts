/** Postgres text holds neither U+0000 nor halves of surrogate pairs; both become U+FFFD. For messages and excerpts, never for payloads. */
export const toStorableText = (text: string): string =>
  text.replaceAll("\u0000", "\ufffd").replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
