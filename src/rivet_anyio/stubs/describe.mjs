// Describes the actors of a TypeScript registry, as JSON on standard output: see _description.py.
//
//   node describe.mjs <registry file> [<exported name>]
//
// The `typescript` package is the one of the project that the file belongs to. What goes wrong is
// one line on standard error and exit status 1.

import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";

const MAX_TEXT = 80;
const MAX_DEPTH = 40;

const [file, wanted] = [resolve(process.argv[2]), process.argv[3]];
const ts = loadTypeScript();
const program = ts.createProgram([file], compilerOptions());
const checker = program.getTypeChecker();
const objects = [];
const objectsByType = new Map();
const visiting = new Set();

process.stdout.write(JSON.stringify({ actors: actors(registryType()), objects }));

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function loadTypeScript() {
  let loaded;
  try {
    loaded = createRequire(file)("typescript");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    fail(`there is no package typescript for ${file}: npm install --save-dev typescript`);
  }
  if (typeof loaded.createProgram !== "function") {
    fail(`typescript ${loaded.version} has no compiler API: install version 5 or 6`);
  }
  return loaded;
}

function compilerOptions() {
  const path = ts.findConfigFile(dirname(file), ts.sys.fileExists);
  const read = path ? ts.readConfigFile(path, ts.sys.readFile).config : {};
  const own = path ? ts.parseJsonConfigFileContent(read ?? {}, ts.sys, dirname(path)).options : {};
  return {
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    allowImportingTsExtensions: true,
    ...own,
    // Without it, null and undefined are not told.
    strict: true,
    allowJs: true,
    skipLibCheck: true,
    noEmit: true,
    composite: false,
    incremental: false,
  };
}

// The registry

function registryType() {
  const source = program.getSourceFile(file);
  if (!source) fail(`cannot read ${file}`);
  const symbol = checker.getSymbolAtLocation(source);
  const exported = symbol ? checker.getExportsOfModule(symbol) : [];
  if (wanted) {
    const found = exported.find(({ name }) => name === wanted);
    if (!found) fail(`${file} exports no ${wanted}`);
    const type = checker.getTypeOfSymbolAtLocation(found, source);
    if (!isRegistry(type)) fail(unresolved(`${wanted} of ${file} is no registry`));
    return type;
  }
  const types = exported.map((one) => checker.getTypeOfSymbolAtLocation(one, source));
  const found = types.filter(isRegistry);
  if (found.length > 1) fail(`${file} exports several registries: name one of them`);
  return found[0] ?? registryExpression(source) ?? fail(unresolved(`${file} has no registry`));
}

function unresolved(message) {
  const missing = program
    .getSourceFiles()
    .filter((source) => !source.isDeclarationFile)
    .flatMap((source) => program.getSemanticDiagnostics(source))
    .filter(({ code }) => code === 2307 || code === 7016)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
  return missing.length ? `${message} that TypeScript knows: ${missing[0]}` : message;
}

// One that is not exported, as in `setup({ use }).start()`.
function registryExpression(node) {
  if (ts.isCallExpression(node) || ts.isIdentifier(node)) {
    const type = checker.getTypeAtLocation(node);
    if (isRegistry(type)) return type;
  }
  return ts.forEachChild(node, registryExpression);
}

function isRegistry(type) {
  return type.symbol?.name === "Registry" && checker.getTypeArguments(type).length === 1;
}

function actors(registry) {
  const [use] = checker.getTypeArguments(registry);
  return checker.getPropertiesOfType(use).map((property) => {
    const type = checker.getNonNullableType(checker.getTypeOfSymbol(property));
    return actor(property.name, type);
  });
}

function actor(name, type) {
  const types = checker.getTypeArguments?.(type) ?? [];
  if (type.symbol?.name !== "ActorDefinition" || types.length < 7) {
    return { name, notes: [`TypeScript knows it as ${text(type)} only.`] };
  }
  // <State, ConnParams, ConnState, Vars, Input, Database, [Events, Queues,] Actions>
  const [, params, , , input, , events, queues] = types;
  const known = types.length >= 9;
  const actions = types.at(-1);
  const result = {
    name,
    params: optional(params, `${name} params`),
    input: optional(input, `${name} input`),
    actions: properties(actions).map((property) => action(name, property)),
    events: known ? properties(events).map((property) => event(name, property)) : [],
    queues: known ? properties(queues).map((property) => queue(name, property)) : [],
    notes: [],
  };
  if (actions.getStringIndexType()) {
    result.notes.push("It may have actions that its type does not name.");
  }
  const configuration = configurationOf(actions);
  if (configuration) {
    for (const [event, type] of broadcasts(configuration)) {
      if (!result.events.some((other) => other.name === event)) {
        result.events.push({ name: event, type });
      }
    }
  }
  return result;
}

function properties(type) {
  return type.flags & ts.TypeFlags.Any ? [] : checker.getPropertiesOfType(type);
}

// Params and input that are not declared are of type undefined, unknown or any.
function optional(type, place) {
  const undeclared = ts.TypeFlags.Unknown | ts.TypeFlags.Undefined | ts.TypeFlags.Never;
  if (type.flags & undeclared) return { kind: "any" };
  return describe(checker.getNonNullableType(type), place);
}

function action(actor, property) {
  const type = checker.getTypeOfSymbol(property);
  const signature = type.getCallSignatures().at(-1);
  const { name } = property;
  if (!signature) {
    return {
      name,
      parameters: [{ name: "args", type: { kind: "any" }, rest: true }],
      result: { kind: "any", why: text(type) },
    };
  }
  const doc = ts.displayPartsToString(property.getDocumentationComment(checker));
  const returned = signature.getReturnType();
  const result = checker.getAwaitedType(returned) ?? returned;
  return {
    name,
    doc,
    // The first one is the context.
    parameters: signature.parameters
      .slice(1)
      .flatMap((one, index) => parameter(`${actor} ${name}`, one, index)),
    result: describe(result, `${actor} ${name} result`),
  };
}

function parameter(place, symbol, index) {
  const declaration = symbol.valueDeclaration;
  const type = checker.getTypeOfSymbol(symbol);
  const isParameter = declaration && ts.isParameter(declaration);
  const simple = !isParameter || ts.isIdentifier(declaration.name);
  const name = simple ? symbol.name : `arg${index + 1}`;
  if (isParameter && declaration.dotDotDotToken) {
    const item = checker.getIndexTypeOfType(type, ts.IndexKind.Number);
    return [{ name, rest: true, type: item ? describe(item, `${place} ${name}`) : { kind: "any" } }];
  }
  const optional = Boolean(
    isParameter && (declaration.initializer || checker.isOptionalParameter(declaration)),
  );
  const given = isParameter && declaration.initializer && literal(declaration.initializer);
  const stripped = optional ? withoutUndefined(ofDefault(type, declaration, given)) : type;
  return [
    {
      name,
      optional,
      type: describe(stripped, `${place} ${name}`),
      ...(given ? { default: given } : {}),
    },
  ];
}

// RivetKit's types make a parameter without a type any. The kind of its default says more.
function ofDefault(type, declaration, given) {
  const isUnknown = type.flags & ts.TypeFlags.Any && !(declaration.type ?? ts.getJSDocType(declaration));
  if (!isUnknown || given?.kind !== "literal") return type;
  return checker.getBaseTypeOfLiteralType(checker.getTypeAtLocation(declaration.initializer));
}

function literal(node) {
  if (ts.isStringLiteralLike(node)) return { kind: "literal", value: node.text };
  if (ts.isNumericLiteral(node)) return { kind: "literal", value: Number(node.text) };
  if (node.kind === ts.SyntaxKind.TrueKeyword) return { kind: "literal", value: true };
  if (node.kind === ts.SyntaxKind.FalseKeyword) return { kind: "literal", value: false };
  if (node.kind === ts.SyntaxKind.NullKeyword) return { kind: "plain", name: "null" };
  return undefined;
}

// Events and queues

function event(actor, property) {
  const { name } = property;
  const type = schemaType(checker.getTypeOfSymbol(property));
  return { name, type: type ? eventType(type, `${actor} ${name}`) : { kind: "any" } };
}

function eventType(type, place) {
  const described = describe(type, place);
  // An event's arguments; one that is alone is the event's value.
  return described.kind === "tuple" && described.items.length === 1 ? described.items[0] : described;
}

function queue(actor, property) {
  const { name } = property;
  const type = checker.getTypeOfSymbol(property);
  const message = schemaType(type);
  const response = completeType(type);
  return {
    name,
    message: message ? describe(message, `${actor} ${name} message`) : { kind: "any" },
    response: response ? describe(response, `${actor} ${name} response`) : { kind: "any" },
  };
}

function schemaType(type) {
  if (["EventTypeToken", "QueueTypeToken"].includes(type.symbol?.name)) {
    return checker.getTypeArguments(type)[0];
  }
  const inner = propertyType(type, "message") ?? propertyType(type, "schema");
  if (inner) return schemaType(inner);
  const types = propertyType(propertyType(type, "~standard"), "types");
  return types && propertyType(checker.getNonNullableType(types), "output");
}

function completeType(type) {
  if (type.symbol?.name === "QueueTypeToken") {
    const [, complete] = checker.getTypeArguments(type);
    return complete.flags & ts.TypeFlags.Never ? undefined : complete;
  }
  const complete = propertyType(type, "complete");
  return complete && schemaType(complete);
}

function propertyType(type, name) {
  const property = type && checker.getPropertyOfType(type, name);
  return property && checker.getTypeOfSymbol(property);
}

// What an actor broadcasts, for those that do not declare it.

function configurationOf(actions) {
  let node = actions.symbol?.declarations?.[0];
  if (!node || !ts.isObjectLiteralExpression(node)) return undefined;
  node = node.parent?.parent;
  return node && ts.isObjectLiteralExpression(node) ? node : undefined;
}

function broadcasts(configuration) {
  const found = new Map();
  const visit = (node) => {
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const [first, ...rest] = node.arguments;
      if (node.expression.name.text === "broadcast" && first && ts.isStringLiteralLike(first)) {
        found.set(first.text, [...(found.get(first.text) ?? []), rest]);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(configuration);
  return [...found].map(([name, calls]) => [name, broadcastType(name, calls)]);
}

function broadcastType(name, calls) {
  const types = calls.map((args) => {
    if (args.some(ts.isSpreadElement)) return { kind: "any", why: "a spread of arguments" };
    const items = args.map((arg) => {
      const type = checker.getTypeAtLocation(arg);
      const example = literal(arg) !== undefined;
      return describe(example ? checker.getBaseTypeOfLiteralType(type) : type, `${name} event`);
    });
    return items.length === 1 ? items[0] : { kind: "tuple", items };
  });
  const different = [...new Map(types.map((type) => [JSON.stringify(type), type])).values()];
  if (different.length === 1) return different[0];
  return { kind: "union", items: different, text: "broadcast with several types" };
}

// Types

function describe(type, place, depth = 0) {
  const flag = (flags) => Boolean(type.flags & flags);
  const F = ts.TypeFlags;
  if (flag(F.Any | F.Unknown)) return { kind: "any" };
  if (flag(F.Never)) return { kind: "any", why: "never" };
  if (flag(F.Undefined | F.Void | F.Null)) return { kind: "plain", name: "null" };
  if (flag(F.StringLiteral | F.NumberLiteral)) return { kind: "literal", value: type.value };
  if (flag(F.BooleanLiteral)) {
    return { kind: "literal", value: checker.typeToString(type) === "true" };
  }
  if (flag(F.StringLike)) return { kind: "plain", name: "string" };
  if (flag(F.BigIntLike)) return { kind: "plain", name: "bigint" };
  if (flag(F.Boolean)) return { kind: "plain", name: "boolean" };
  if (depth > MAX_DEPTH || visiting.has(type)) {
    return { kind: "any", why: `${text(type)}, which has no end` };
  }
  if (type.isUnion()) return union(type, place, depth);
  if (flag(F.NumberLike)) return { kind: "plain", name: "number" };
  if (flag(F.TypeParameter | F.IndexedAccess | F.Conditional | F.Substitution)) {
    const constraint = checker.getBaseConstraintOfType(type);
    if (!constraint || constraint === type) return { kind: "any", why: text(type) };
    return describe(constraint, place, depth + 1);
  }
  if (type.isIntersection()) {
    // A brand on a primitive, as in `string & { __brand: "id" }`.
    const primitive = type.types.find((part) => !(part.flags & (F.Object | F.TypeParameter)));
    if (primitive) return describe(primitive, place, depth + 1);
  }
  if (!flag(F.Object | F.Intersection)) return { kind: "any", why: text(type) };
  return objectLike(type, place, depth);
}

function union(type, place, depth) {
  const visited = (item) => describe(item, place, depth + 1);
  visiting.add(type);
  try {
    // TypeScript has boolean as the union of true and false.
    const items = new Map();
    for (const item of type.types) {
      const described = visited(item);
      items.set(JSON.stringify(described), described);
    }
    const [yes, no] = [true, false].map((value) => JSON.stringify({ kind: "literal", value }));
    if (items.has(yes) && items.has(no)) {
      items.delete(yes);
      items.delete(no);
      items.set("boolean", { kind: "plain", name: "boolean" });
    }
    const all = [...items.values()];
    return all.length === 1 ? all[0] : { kind: "union", items: all, text: text(type) };
  } finally {
    visiting.delete(type);
  }
}

function objectLike(type, place, depth) {
  const name = type.symbol?.name;
  const parts = () => checker.getTypeArguments(type).map((part) => describe(part, place, depth + 1));
  if (checker.isTupleType(type)) return tuple(type, place, depth);
  if (checker.isArrayType(type)) return { kind: "array", item: parts()[0] };
  if (name === "Date") return { kind: "plain", name: "date" };
  if (["Uint8Array", "ArrayBuffer", "Buffer", "SharedArrayBuffer"].includes(name)) {
    return { kind: "plain", name: "bytes" };
  }
  if (name === "Set" || name === "ReadonlySet") return { kind: "set", item: parts()[0] };
  if (name === "Map" || name === "ReadonlyMap") {
    const [key, value] = parts();
    return { kind: "map", key, value };
  }
  if (type.getCallSignatures().length || type.getConstructSignatures().length) {
    return { kind: "any", why: text(type) };
  }
  const known = checker.getPropertiesOfType(type);
  const index = checker.getIndexInfosOfType(type)[0];
  if (index && known.length === 0) {
    const value = describe(index.type, place, depth + 1);
    return { kind: "map", key: { kind: "plain", name: "string" }, value };
  }
  if (index || known.length === 0 || isInstance(type)) return { kind: "any", why: text(type) };
  return { kind: "ref", object: object(type, known, place, depth) };
}

function tuple(type, place, depth) {
  const types = checker.getTypeArguments(type);
  const flags = type.target.elementFlags;
  if (flags.some((flag) => flag !== ts.ElementFlags.Required)) {
    return { kind: "any", why: text(type) };
  }
  return { kind: "tuple", items: types.map((item) => describe(item, place, depth + 1)) };
}

// Instances of classes do not travel as what they are, and the language's own objects are such:
// Error, Promise, URL. What has no name of its own is made by Partial and the like.
function isInstance({ symbol }) {
  if (!symbol) return false;
  if (symbol.flags & ts.SymbolFlags.Class) return true;
  const source = symbol.declarations?.[0]?.getSourceFile();
  return (
    !symbol.name.startsWith("__") && Boolean(source && program.isSourceFileDefaultLibrary(source))
  );
}

function object(type, known, place, depth) {
  const seen = objectsByType.get(type);
  if (seen !== undefined) return seen;
  const number = objects.length;
  objectsByType.set(type, number);
  objects.push(null);
  const given = type.aliasSymbol?.name ?? type.symbol?.name;
  const name = !given || given.startsWith("__") ? place : given;
  const fields = known
    .filter((property) => !isFunction(checker.getTypeOfSymbol(property)))
    .map((property) => {
      const optional = Boolean(property.flags & ts.SymbolFlags.Optional);
      const full = checker.getTypeOfSymbol(property);
      const stripped = optional ? withoutUndefined(full) : full;
      return {
        name: property.name,
        optional,
        type: describe(stripped, `${name} ${property.name}`, depth + 1),
      };
    });
  objects[number] = { name, fields };
  return number;
}

function isFunction(type) {
  return type.getCallSignatures().length > 0 && checker.getPropertiesOfType(type).length === 0;
}

function withoutUndefined(type) {
  if (!type.isUnion()) return type;
  // null and undefined are one in Python: where there is null, nothing is to be taken away.
  const hasNull = type.types.some((item) => item.flags & ts.TypeFlags.Null);
  return hasNull ? type : checker.getNonNullableType(type);
}

function text(type) {
  const whole = checker.typeToString(type).replace(/\s+/g, " ");
  return whole.length > MAX_TEXT ? `${whole.slice(0, MAX_TEXT - 3)}...` : whole;
}
