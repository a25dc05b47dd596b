package schema_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/interlock-go/interlock/internal/testschema"
	"github.com/interlock-go/interlock/txn"
)

// User 1 has order 1, of 3 times product 1.
var orderRefusals = []refusal{
	{"products_pkey", "insert into products (id, name, price_minor) overriding system value values (1, 'N', 1)", unique},
	{"products_name_length", "insert into products (name, price_minor) values ('', 1)", check},
	{"products_name_length", "insert into products (name, price_minor) values (repeat('n', 201), 1)", check},
	{"products_price_not_negative", "update products set price_minor = -1 where id = 1", check},
	{"products_stock_not_negative", "update products set stock = stock - 8 where id = 1", check},
	{"products_stock_was_received", "update products set stock = stock + 4 where id = 1", check},
	{"products_version_positive", "update products set version = 0 where id = 1", check},

	{"orders_pkey", insertOrder(map[string]string{"id": "1"}), unique},
	{"orders_idempotency_key_key", insertOrder(map[string]string{"idempotency_key": "'first order'"}), unique},
	{"orders_user_id_fkey", insertOrder(map[string]string{"user_id": "99"}), foreign},
	{"orders_idempotency_key_length", insertOrder(map[string]string{"idempotency_key": "''"}), check},
	{"orders_idempotency_key_length", insertOrder(map[string]string{"idempotency_key": "repeat('k', 201)"}), check},
	{"orders_request_digest_length", insertOrder(map[string]string{"request_digest": "'short'"}), check},
	{"orders_discount_within_subtotal", insertOrder(map[string]string{"discount_minor": "501", "total_minor": "-1"}), check},
	{"orders_discount_within_subtotal", insertOrder(map[string]string{"discount_minor": "-1", "total_minor": "501"}), check},
	{"orders_total_adds_up", insertOrder(map[string]string{"total_minor": "499"}), check},
	{"orders_shipping_address_complete", insertOrder(map[string]string{"shipping_address": "'[]'"}), check},
	{"orders_shipping_address_complete", "update orders set shipping_address = shipping_address - 'city'", check},
	{"orders_shipping_address_length", "update orders set shipping_address = shipping_address || jsonb_build_object('more', repeat('m', 4000))", check},
	{"orders_note_length", "update orders set note = repeat('n', 501)", check},
	{"orders_cancelled_returns_stock", "update orders set status = 'cancelled'", check},
	{"orders_stock_returned_by_end", "update orders set stock_returned = true", check},
	{"orders_version_positive", "update orders set version = 0", check},
	{"orders_status_at_first", insertOrder(map[string]string{"status": "'paid'"}), check},
	{"orders_status_follows", "update orders set status = 'refunded', stock_returned = true", check},
	{"orders_items_add_up", insertOrder(nil), check}, // no items
	{"orders_items_add_up", `with o as (` + insertOrder(nil) + ` returning id)
		insert into order_items (order_id, product_id, product_name, quantity, unit_price_minor) select id, 1, 'Mug', 2, 500 from o`, check},
	{"", "update orders set status = 'lost'", badValue},
	{"", "update orders set total_minor = null", notNull},

	{"customer_counters_pkey", "insert into customer_counters (user_id) values (1)", unique},
	{"customer_counters_user_id_fkey", "insert into customer_counters (user_id) values (99)", foreign},
	{"customer_counters_orders_not_negative", "update customer_counters set orders = -1", check},

	{"order_items_pkey", insertItem("1, 1, 'Mug', 1, 500"), unique},
	{"order_items_order_id_fkey", insertItem("99, 1, 'Mug', 1, 0"), foreign},
	{"order_items_order_id_fkey", "delete from orders where id = 1", foreign},
	{"order_items_product_id_fkey", insertItem("1, 99, 'Mug', 1, 0"), foreign},
	{"order_items_product_id_fkey", "delete from products where id = 1", foreign},
	{"order_items_product_name_length", insertItem("1, 2, '', 1, 0"), check},
	{"order_items_quantity_positive", insertItem("1, 2, 'Tray', 0, 0"), check},
	{"order_items_quantity_positive", insertItem("1, 2, 'Tray', -1, 0"), check},
	{"order_items_unit_price_not_negative", insertItem("1, 2, 'Tray', 1, -1"), check},
	{"order_items_belong", insertItem("1, 2, 'Tray', 1, 1200"), check}, // one more than the subtotal says
	{"order_items_append_only", "update order_items set quantity = 2", restrict},
	{"order_items_append_only", "delete from order_items", restrict},
	{"", insertItem("1, 2, 'Tray', 9223372036854775807, 2"), outOfRange},

	{"payments_pkey", "insert into payments (id, order_id, user_id, amount_minor, method, provider_key) overriding system value values (1, 1, 1, 1, 'card', 'new')", unique},
	{"payments_order_id_key", insertPayment("1, 1, 1400, 'card', 'new'"), unique},
	{"payments_provider_key_key", "update payments set provider_key = 'order-1' where id = 2", unique},
	{"payments_user_id_fkey", "update payments set user_id = 99 where id = 2", foreign},
	{"payments_order_id_fkey", "update payments set order_id = 99 where id = 1", foreign},
	{"payments_order_id_fkey", "update payments set amount_minor = 1399 where id = 1", foreign},
	{"payments_order_id_fkey", "update payments set user_id = 2 where id = 1", foreign},
	{"payments_order_id_fkey", "update orders set user_id = 2 where id = 1", foreign},
	{"payments_order_id_fkey", "update orders set discount_minor = 0, total_minor = 1500 where id = 1", foreign},
	{"payments_amount_not_negative", insertPayment("1, 1, -1, 'card', 'new'"), check},
	{"payments_provider_key_length", insertPayment("1, 1, 1, 'card', ''"), check},
	{"payments_provider_key_length", insertPayment("1, 1, 1, 'card', repeat('k', 201)"), check},
}

// outOfRange is the SQLSTATE of a product of quantity and price that no bigint holds.
const outOfRange = "22003"

// insertOrder inserts an order that is right but for its items, and for the columns given.
func insertOrder(columns map[string]string) string {
	row := map[string]string{
		"id": "default", "user_id": "1", "idempotency_key": "'new'", "request_digest": "sha256('new')", "status": "'pending'",
		"subtotal_minor": "500", "discount_minor": "0", "total_minor": "500", "payment_method": "'card'",
		"shipping_address": `'{"name": "Ada", "street": "Main Street 1", "city": "London", "country": "GB"}'`,
	}
	var names, values string
	for name, value := range row {
		if other, ok := columns[name]; ok {
			value = other
		}
		names, values = names+", "+name, values+", "+value
	}
	return fmt.Sprintf("insert into orders (%s) overriding system value values (%s)", names[2:], values[2:])
}

func insertItem(values string) string {
	return "insert into order_items (order_id, product_id, product_name, quantity, unit_price_minor) values (" + values + ")"
}

func insertPayment(values string) string {
	return "insert into payments (order_id, user_id, amount_minor, method, provider_key) values (" + values + ")"
}

// Neither does the owner remove what was ordered.
func TestTruncateOfItemsIsRefused(t *testing.T) {
	t.Parallel()
	c, err := pgx.Connect(t.Context(), testschema.NewDatabaseWithRows(t).OwnerURL())
	require.NoError(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	_, err = c.Exec(t.Context(), "truncate order_items")
	require.Equal(t, restrict, txn.SQLState(err), "%v", err)
	require.Equal(t, "order_items_append_only", txn.ConstraintName(err))
}
