/** The parts of an OpenAPI 3.1 document that are passed around; what is inside is JSON. */
export type Schema = Readonly<Record<string, unknown>>;

export type OpenApiDocument = {
  readonly openapi: "3.1.0";
  readonly info: Schema;
  readonly servers: readonly Schema[];
  readonly tags: readonly Schema[];
  readonly security: readonly Schema[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Schema>>;
    readonly securitySchemes: Schema;
  };
};

/** Scalars, enums and unions of the problem catalogue alike: a reference to a named component. */
export const schemaRef = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
export const responseRef = (name: string): Schema => ({ $ref: `#/components/responses/${name}` });
