// The types for `import`; for `require` they are in index.d.ts.

export * from './index.js';
