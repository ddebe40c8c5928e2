/** What a method is. */

export { closest } from './closest.ts'
export { type Method, method, type Socket, sockets } from './method.ts'
