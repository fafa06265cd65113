package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// States of an operation. A caller whose context ends and the writer race for the step away from queued.
const (
	queued int32 = iota
	running
	abandoned
)

// operation is one write on its way to the writer and back.
type operation struct {
	ctx   context.Context
	run   func(*tx) error
	state atomic.Int32
	err   error
	done  chan struct{}
}

// writer executes operations one after another on one connection, many in one transaction.
type writer struct {
	db         *sql.DB
	conn       *sql.Conn
	statements map[string]*sql.Stmt // used by the goroutine of run only
	batch      int

	mu     sync.RWMutex // held for reading while sending to queue
	closed bool
	queue  chan *operation
	ended  chan struct{}
}

func newWriter(ctx context.Context, db *sql.DB, batch int) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{
		db: db, conn: conn, statements: make(map[string]*sql.Stmt), batch: batch,
		queue: make(chan *operation, batch), ended: make(chan struct{}),
	}
	go w.loop()
	return w, nil
}

// do runs one operation and returns when it is on stable storage. A caller whose context ends before its operation is
// executed gets the context's error and the operation never runs; once it runs, its outcome is awaited and returned.
func (w *writer) do(ctx context.Context, run func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	op := &operation{ctx: ctx, run: run, done: make(chan struct{})}
	if err := w.send(op); err != nil {
		return err
	}
	select {
	case <-op.done:
	case <-ctx.Done():
		if op.state.CompareAndSwap(queued, abandoned) {
			return ctx.Err()
		}
		<-op.done
	}
	return op.err
}

func (w *writer) send(op *operation) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- op:
		return nil
	case <-op.ctx.Done():
		return op.ctx.Err()
	}
}

func (w *writer) loop() {
	defer close(w.ended)
	for op := range w.queue {
		w.commitBatch(op)
	}
}

// commitBatch executes first and what is waiting behind it in one transaction and answers all once that is committed.
func (w *writer) commitBatch(first *operation) {
	batch := make([]*operation, 0, 64)
	err := w.simple(`BEGIN IMMEDIATE`)
	for op := first; op != nil; op = w.next(len(batch)) {
		if !op.claim() {
			continue
		}
		batch = append(batch, op)
		if err == nil {
			op.err, err = w.execute(op)
		}
	}
	if err == nil {
		err = w.simple(`COMMIT`)
	}
	if err != nil {
		// After some errors SQLite has rolled back by itself, then there is nothing left to undo.
		_ = w.simple(`ROLLBACK`)
	}
	for _, op := range batch {
		if op.err == nil {
			op.err = err
		}
		close(op.done)
	}
}

// next returns an operation that waits, or nil if there is none or the batch is full.
func (w *writer) next(size int) *operation {
	if size >= w.batch {
		return nil
	}
	select {
	case op := <-w.queue:
		return op // nil once the queue is closed and empty
	default:
		return nil
	}
}

// claim reports whether the operation may run.
func (o *operation) claim() bool {
	return o.ctx.Err() == nil && o.state.CompareAndSwap(queued, running)
}

// execute runs one operation inside a savepoint, so that a failing one undoes only itself. It returns the operation's own
// error and, where the whole transaction is lost, the reason.
func (w *writer) execute(op *operation) (own, lost error) {
	if err := w.simple(`SAVEPOINT operation`); err != nil {
		return nil, err
	}
	own = op.run(&tx{w: w})
	if own != nil {
		if err := w.simple(`ROLLBACK TO operation`); err != nil {
			return own, fmt.Errorf("a write of the same transaction failed: %w", own)
		}
	}
	return own, w.simple(`RELEASE operation`)
}

// close executes what is queued and ends the writer.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.ended
	err := w.simple(`PRAGMA optimize`)
	for _, st := range w.statements {
		err = errors.Join(err, st.Close())
	}
	return errors.Join(err, w.conn.Close(), w.db.Close())
}

// statement returns query prepared on the writer's connection. No context: an interrupted statement would end the
// transaction of others.
func (w *writer) statement(query string) (*sql.Stmt, error) {
	if st := w.statements[query]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.statements[query] = st
	return st, nil
}

func (w *writer) simple(query string) error {
	st, err := w.statement(query)
	if err == nil {
		_, err = st.Exec()
	}
	return err
}

// tx is the transaction as one operation sees it.
type tx struct{ w *writer }

// exec returns how many rows the statement changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	st, err := t.w.statement(query)
	if err != nil {
		return 0, err
	}
	res, err := st.Exec(args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// exec1 executes a statement that must change exactly one row.
func (t *tx) exec1(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n != 1 {
		err = fmt.Errorf("statement changed %d rows instead of one", n)
	}
	return err
}

// execOr executes a statement that must change a row; otherwise is the error where it changes none.
func (t *tx) execOr(otherwise error, query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = otherwise
	}
	return err
}

// row reads one row; no row is sql.ErrNoRows.
func (t *tx) row(query string, args []any, into ...any) error {
	st, err := t.w.statement(query)
	if err != nil {
		return err
	}
	return st.QueryRow(args...).Scan(into...)
}

// rowOr reads one row; otherwise is the error where there is none.
func (t *tx) rowOr(otherwise error, query string, args []any, into ...any) error {
	err := t.row(query, args, into...)
	if errors.Is(err, sql.ErrNoRows) {
		err = otherwise
	}
	return err
}
