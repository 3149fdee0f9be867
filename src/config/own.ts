/** A table's entry of that name; what every object inherits (constructor, toString) is none of it. */
export const own = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);
