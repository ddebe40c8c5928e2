/** What a method is. */

export { closest } from './closest.ts'
export { explain, type Field, fieldsOf, isNumber, readValue } from './fields.ts'
export { type Method, method, type Socket, sockets } from './method.ts'
export { type MethodSpec, parseMethodSpec, readMethodOptions } from './spec.ts'
