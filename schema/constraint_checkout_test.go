package schema_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// User 2 has reservations 1, which is active, and 2, which was released, of product 2; payment 2
// is of the first and pending, payment 3 of the second and goes back by refund 1.
var checkoutRefusals = []refusal{
	{"inventory_reservations_pkey", `insert into inventory_reservations (id, user_id, idempotency_key, total_minor, expires_at)
		overriding system value values (1, 1, 'new', 1, now() + interval '1 minute')`, unique},
	{"inventory_reservations_idempotency_key_key", insertReservation("2, 'first reservation', 1, now() + interval '1 minute'"), unique},
	{"inventory_reservations_user_id_fkey", insertReservation("99, 'new', 1, now() + interval '1 minute'"), foreign},
	{"inventory_reservations_idempotency_key_length", insertReservation("2, '', 1, now() + interval '1 minute'"), check},
	{"inventory_reservations_idempotency_key_length", insertReservation("2, repeat('k', 201), 1, now() + interval '1 minute'"), check},
	{"inventory_reservations_total_not_negative", insertReservation("2, 'new', -1, now() + interval '1 minute'"), check},
	{"inventory_reservations_expires_later", insertReservation("2, 'new', 1, now()"), check},
	{"inventory_reservations_confirmed_by_order", "update inventory_reservations set status = 'confirmed', closed_at = now() where id = 1", check},
	{"inventory_reservations_confirmed_by_order", "update inventory_reservations set status = 'released', closed_at = now(), order_id = 1 where id = 1", check},
	{"inventory_reservations_closed_at_end", "update inventory_reservations set status = 'released' where id = 1", check},
	{"inventory_reservations_closed_at_end", "update inventory_reservations set closed_at = now() where id = 1", check},
	// Another user's order, and another price.
	{"inventory_reservations_order_id_fkey", "update inventory_reservations set status = 'confirmed', closed_at = now(), order_id = 1 where id = 1", foreign},
	{"inventory_reservations_order_id_fkey", `insert into inventory_reservations (user_id, idempotency_key, total_minor, expires_at, status, closed_at, order_id)
		values (1, 'new', 1399, now() + interval '1 minute', 'confirmed', now(), 1)`, foreign},
	{"inventory_reservations_order_id_key", `with r as (
			insert into inventory_reservations (user_id, idempotency_key, total_minor, expires_at, status, closed_at, order_id)
			select 1, 'new ' || n, 1400, now() + interval '1 minute', 'confirmed', now(), 1 from generate_series(1, 2) n returning id
		) select * from r`, unique},
	{"inventory_reservations_end_once", "update inventory_reservations set status = 'active', closed_at = null where id = 2", check},
	{"inventory_reservations_end_once", "update inventory_reservations set status = 'expired' where id = 2", check},
	{"inventory_reservations_end_once", "update inventory_reservations set expires_at = now() + interval '1 day' where id = 2", check},
	{"", "update inventory_reservations set status = 'lost' where id = 1", badValue},

	{"reservation_items_pkey", insertReserved("1, 2, 'Tray', 1, 0"), unique},
	{"reservation_items_reservation_id_fkey", insertReserved("99, 1, 'Mug', 1, 0"), foreign},
	{"reservation_items_reservation_id_fkey", "delete from inventory_reservations where id = 2", foreign},
	{"reservation_items_product_id_fkey", insertReserved("1, 99, 'Mug', 1, 0"), foreign},
	{"reservation_items_product_name_length", insertReserved("1, 1, '', 1, 0"), check},
	{"reservation_items_quantity_positive", insertReserved("1, 1, 'Mug', 0, 0"), check},
	{"reservation_items_quantity_positive", insertReserved("1, 1, 'Mug', -1, 0"), check},
	{"reservation_items_unit_price_not_negative", insertReserved("1, 1, 'Mug', 1, -1"), check},
	{"reservation_items_append_only", "update reservation_items set quantity = 2", restrict},
	{"reservation_items_append_only", "delete from reservation_items", restrict},

	{"payments_purpose", "update payments set reservation_id = null where id = 2", check},
	{"payments_reservation_id_key", insertReservationPayment("1, 2, 1200, 'card', 'new'"), unique},
	{"payments_reservation_id_fkey", "update payments set amount_minor = 1199 where id = 2", foreign},
	{"payments_reservation_id_fkey", "update payments set user_id = 1 where id = 2", foreign},
	{"payments_reservation_id_fkey", "update payments set reservation_id = 99 where id = 2", foreign},
	{"payments_charge_reference_length", "update payments set status = 'completed', asked_at = now(), charge_reference = '' where id = 2", check},
	{"payments_charge_reference_length", "update payments set status = 'completed', asked_at = now(), charge_reference = repeat('r', 201) where id = 2", check},
	{"payments_charge_reference_key", "update payments set status = 'completed', asked_at = now(), charge_reference = 'charge-2' where id = 2", unique},
	{"payments_provider_key_printable", "update payments set provider_key = 'k ' where id = 2", check},
	{"payments_provider_key_printable", "update payments set provider_key = ' k' where id = 2", check},
	{"payments_provider_key_printable", "update payments set provider_key = e'k\nk' where id = 2", check},
	{"payments_provider_key_printable", "update payments set provider_key = 'é' where id = 2", check},
	{"payments_decline_code_length", "update payments set status = 'failed', decline_code = '' where id = 2", check},
	{"payments_decline_code_length", "update payments set status = 'failed', decline_code = repeat('c', 101) where id = 2", check},
	{"payments_charged_by_reference", "update payments set status = 'completed', asked_at = now() where id = 2", check},
	{"payments_charged_by_reference", "update payments set asked_at = now(), charge_reference = 'r' where id = 2", check},
	{"payments_failed_by_code", "update payments set status = 'failed' where id = 2", check},
	{"payments_failed_by_code", "update payments set decline_code = 'c' where id = 2", check},
	{"payments_cancelled_unasked", "update payments set status = 'cancelled', asked_at = now() where id = 2", check},
	{"payments_charged_when_asked", "update payments set status = 'completed', charge_reference = 'r' where id = 2", check},
	{"payments_status_follows", "update payments set status = 'refunded' where id = 2", check},
	{"payments_status_follows", "update payments set status = 'completed' where id = 3", check},
	{"payments_status_follows", "update payments set status = 'pending', charge_reference = null where id = 3", check},

	{"refunds_pkey", `insert into refunds (id, payment_id, amount_minor, reason, provider_key)
		overriding system value values (1, 2, 1200, 'r', 'new')`, unique},
	{"refunds_payment_id_key", insertRefund("3, 1200, 'r', 'new'"), unique},
	{"refunds_provider_key_key", insertRefund("2, 1200, 'r', 'refund-1'"), unique},
	{"refunds_payment_id_fkey", insertRefund("99, 1200, 'r', 'new'"), foreign},
	{"refunds_payment_id_fkey", insertRefund("2, 1199, 'r', 'new'"), foreign},
	{"refunds_payment_id_fkey", insertRefund("2, 1201, 'r', 'new'"), foreign},
	{"refunds_reason_length", insertRefund("2, 1200, '', 'new'"), check},
	{"refunds_reason_length", insertRefund("2, 1200, repeat('r', 501), 'new'"), check},
	{"refunds_provider_key_length", insertRefund("2, 1200, 'r', ''"), check},
	{"refunds_refund_reference_length", "update refunds set status = 'completed', refund_reference = ''", check},
	{"refunds_refund_reference_key", `insert into refunds (payment_id, amount_minor, reason, provider_key, status, refund_reference)
		values (1, 1400, 'r', 'new 1', 'completed', 'r'), (2, 1200, 'r', 'new 2', 'completed', 'r')`, unique},
	{"refunds_decline_code_length", "update refunds set status = 'failed', decline_code = ''", check},
	{"refunds_completed_by_reference", "update refunds set status = 'completed'", check},
	{"refunds_failed_by_code", "update refunds set status = 'failed'", check},
}

func insertReservation(values string) string {
	return "insert into inventory_reservations (user_id, idempotency_key, total_minor, expires_at) values (" + values + ")"
}

func insertReserved(values string) string {
	return "insert into reservation_items (reservation_id, product_id, product_name, quantity, unit_price_minor) values (" + values + ")"
}

func insertReservationPayment(values string) string {
	return "insert into payments (reservation_id, user_id, amount_minor, method, provider_key) values (" + values + ")"
}

func insertRefund(values string) string {
	return "insert into refunds (payment_id, amount_minor, reason, provider_key) values (" + values + ")"
}

// Neither does the owner remove what was reserved.
func TestTruncateOfReservedIsRefused(t *testing.T) {
	t.Parallel()
	c, err := pgx.Connect(t.Context(), testschema.NewDatabaseWithRows(t).OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	_, err = c.Exec(t.Context(), "truncate reservation_items")
	require.Equal(t, restrict, txn.SQLState(err), "%v", err)
	require.Equal(t, "reservation_items_append_only", txn.ConstraintName(err))
}
