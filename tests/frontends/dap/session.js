// A whole session by the test adapter that VS Code's own debug adapters are tested with: @vscode/debugadapter-testsupport.
// argv: the Python, a model folder, its modeling file, a line of its MLP, a script. What fails throws.
const assert = require('assert');
const cp = require('child_process');
const { DebugClient } = require('@vscode/debugadapter-testsupport');
const [python, model, file, line, script] = process.argv.slice(2);

function client() {
    // The process is started here: it is a module of Python, where this client knows of a program and its file.
    const made = new DebugClient(python, '', 'llmdbg');
    made.defaultTimeout = 120000;
    return made;
}

async function start(dc) {
    const adapter = cp.spawn(python, ['-m', 'llmdbg', 'dap']);
    dc.connect(adapter.stdout, adapter.stdin);
    return adapter;
}

const ended = (adapter) => new Promise((resolve) => adapter.on('exit', (code) => resolve(code)));
const top = async (dc) => (await dc.stackTraceRequest({ threadId: 1 })).body.stackFrames[0];
async function after(dc, request) {
    const stopped = dc.waitForEvent('stopped', 120000);
    await request;
    return (await stopped).body;
}
async function scopes(dc, frameId) {
    const found = (await dc.scopesRequest({ frameId })).body.scopes;
    return Object.fromEntries(found.map((each) => [each.name, each.variablesReference]));
}
async function variables(dc, variablesReference, page) {
    const found = (await dc.variablesRequest({ variablesReference, ...page })).body.variables;
    return Object.fromEntries(found.map((each) => [each.name, each]));
}

async function ofAModel() {
    const dc = client();
    const adapter = await start(dc);
    const exit = ended(adapter);
    const first = dc.waitForEvent('stopped', 120000);
    const configured = dc.waitForEvent('initialized', 120000).then(async () => {
        const lines = await dc.setBreakpointsRequest({ source: { path: file }, breakpoints: [{ line: +line, condition: 'layer == 1' }] });
        assert.ok(lines.body.breakpoints[0].verified);
        const stages = await dc.setFunctionBreakpointsRequest({ breakpoints: [{ name: '2.mlp', condition: 'token >= 1' }] });
        assert.ok(stages.body.breakpoints[0].verified);
        await dc.setExceptionBreakpointsRequest({ filters: ['nonfinite', 'raised'] });
        return dc.configurationDoneRequest();
    });
    await Promise.all([configured, dc.launch({ model, prompt: 'the cat', settings: { max_new_tokens: 6, greedy: true } })]);

    assert.strictEqual((await first).body.reason, 'breakpoint');
    const stack = (await dc.stackTraceRequest({ threadId: 1 })).body.stackFrames;
    assert.strictEqual(stack[1].line, +line);
    assert.strictEqual(stack[1].source.path, file);
    assert.ok(stack.some((each) => each.name === 'LlamaForCausalLM.forward'));
    const locals = await variables(dc, (await scopes(dc, stack[0].id)).Locals);
    assert.strictEqual(locals.x.value, '[1, 5, 32] float32 cpu');

    await after(dc, dc.nextRequest({ threadId: 1 }));
    assert.strictEqual((await top(dc)).line, +line + 1);
    await after(dc, dc.stepBackRequest({ threadId: 1 }));
    assert.strictEqual((await top(dc)).line, +line);
    await after(dc, dc.stepOutRequest({ threadId: 1 }));
    await after(dc, dc.stepInRequest({ threadId: 1 }));
    await dc.setBreakpointsRequest({ source: { path: file }, breakpoints: [] });

    const at = await after(dc, dc.continueRequest({ threadId: 1 }));
    assert.strictEqual(at.reason, 'function breakpoint');
    const frame = await top(dc);
    assert.ok(frame.name.startsWith('2.mlp@1'), frame.name);
    const stage = await variables(dc, (await scopes(dc, frame.id)).Stage);
    assert.strictEqual(stage.out.value, '[1, 1, 32] float32 cpu');
    const whole = await variables(dc, stage.out.variablesReference);
    const row = await variables(dc, whole['[0]'].variablesReference);
    const page = await variables(dc, row['[0]'].variablesReference, { filter: 'indexed', start: 8, count: 4 });
    assert.deepStrictEqual(Object.keys(page), ['[8]', '[9]', '[10]', '[11]']);
    const value = (await dc.evaluateRequest({ expression: 'out[0, 0, 9].item()', frameId: frame.id, context: 'watch' })).body.result;
    assert.ok(Math.abs(+value - +page['[9]'].value) < 1e-5);
    const said = (await dc.evaluateRequest({ expression: 'info stage', context: 'repl' })).body.result;
    assert.ok(said.includes('2.mlp'), said);

    await after(dc, dc.continueRequest({ threadId: 1 }));
    assert.ok((await top(dc)).name.startsWith('2.mlp@2'));
    await after(dc, dc.reverseContinueRequest({ threadId: 1 }));
    const again = await top(dc);
    assert.ok(again.name.startsWith('2.mlp@1'));
    const same = (await dc.evaluateRequest({ expression: 'out[0, 0, 9].item()', frameId: again.id, context: 'watch' })).body.result;
    assert.strictEqual(same, value);

    const settings = (await scopes(dc, again.id)).Settings;
    await dc.setVariableRequest({ variablesReference: settings, name: 'repetition_penalty', value: '1.3' });
    await dc.evaluateRequest({ expression: 'goto 0.mlp', context: 'repl' });
    await dc.evaluateRequest({ expression: 'edit out * float("nan")', context: 'repl' });
    const broken = await after(dc, dc.continueRequest({ threadId: 1 }));
    assert.strictEqual(broken.reason, 'exception');
    const info = (await dc.exceptionInfoRequest({ threadId: 1 })).body;
    assert.strictEqual(info.exceptionId, 'nonfinite');
    await assert.rejects(dc.customRequest('wibble'), /no request/);
    await dc.disconnectRequest();
    assert.strictEqual(await exit, 0);
}

async function ofAProgram() {
    const dc = client();
    const exit = ended(await start(dc));
    const output = dc.assertOutput('stdout', 'hello from the program', 120000);
    await Promise.all([dc.configurationSequence(), dc.launch({ program: script }), dc.waitForEvent('terminated', 120000), output]);
    await dc.disconnectRequest();
    assert.strictEqual(await exit, 0);
}

ofAModel().then(ofAProgram).then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
