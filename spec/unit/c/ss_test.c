/* Known answers of what Shadowsocks is made of, and the memory against replays. */

#include "codec_check.h"

#include "base/replay.h"
#include "base/shared.h"
#include "crypto/blake3.h"
#include "crypto/ss_key.h"

static void check_equal(const uint8_t *data, size_t len, const char *hex)
{
    uint8_t wanted[256];
    assert_int_equal(check_hex(hex, wanted), len);
    assert_memory_equal(data, wanted, len);
}

/* From the official vectors: input is 0, 1, … 250, 0, … */
static void test_blake3(void **state)
{
    (void)state;
    uint8_t in[1024], out[32];
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i % 251);
    tg_blake3(in, 0, out, 32);
    check_equal(out, 32, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    tg_blake3(in, 1, out, 32);
    check_equal(out, 32, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213");
    tg_blake3(in, 1024, out, 32);
    check_equal(out, 32, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7");
}

static struct tg_ss_key *key_of(const char *method, const char *password)
{
    char problem[TG_SS_PROBLEM];
    struct tg_ss_key *k = tg_ss_key_new(tg_ss_method_find(method, strlen(method)), password, strlen(password),
                                        problem);
    assert_non_null(k);
    return k;
}

static void test_subkeys(void **state)
{
    (void)state;
    uint8_t salt[16], out[TG_AEAD_KEY_MAX], block[16];
    char problem[TG_SS_PROBLEM];
    for (int i = 0; i < 16; i++)
        salt[i] = (uint8_t)(0x40 + i);
    struct tg_ss_key *k = key_of("2022-blake3-aes-128-gcm", "AAECAwQFBgcICQoLDA0ODw==");
    tg_ss_subkey(k, k->key, salt, 16, out);
    check_equal(out, 16, "80e542bc94fbfe0078a6469c1e09a7cf");
    tg_ss_identity_key(k, k->key, salt, out);
    check_equal(out, 16, "a1db6c2de420dd2ed5d4fea370388ad8");
    assert_true(tg_ss_key_add_user(k, "one", "ICEiIyQlJicoKSorLC0uLw==", 24, problem));
    check_equal(k->users[0].identity, 16, "ed008e954c2404a8070f75850c716d6f");
    tg_ss_block(k, true, out, k->users[0].identity, block);
    check_equal(block, 16, "4cd8316ef4c2c2b915f6f822b6fadac3");
    tg_ss_block(k, false, out, block, block);
    assert_ptr_equal(tg_ss_user_find(k, block), &k->users[0]);
    assert_false(tg_ss_key_add_user(k, "two", "ICEiIyQlJicoKSorLC0uLw==", 24, problem));
    tg_ss_key_drop(k);

    k = key_of("AEAD_AES_256_GCM", "foobar"); /* EVP_BytesToKey */
    check_equal(k->key, 32, "3858f62230ac3c915f300c664312c63f568378529614d22ddb49237d2f60bfdf");
    tg_ss_key_drop(k);
}

static void test_keys_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "AAECAwQFBgcICQoLDA0O", "AAECAwQFBgcICQoLDA0ODxA=", "a b", "AAEC:AAEC" };
    char problem[TG_SS_PROBLEM];
    const struct tg_ss_method *m = tg_ss_method_find("2022-BLAKE3-aes-128-gcm", 23);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_null(tg_ss_key_new(m, bad[i], strlen(bad[i]), problem));
    assert_null(tg_ss_method_find("aes-256-gc", 10));
    struct tg_ss_key *k = key_of("aes-128-gcm", "x");
    assert_false(tg_ss_key_add_user(k, "a", "x", 1, problem));
    tg_ss_key_drop(k);
}

static void test_xchacha(void **state)
{
    (void)state;
    uint8_t key[32], nonce[24], out[5 + TG_AEAD_TAG];
    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    memset(nonce, 7, sizeof(nonce));
    struct tg_aead *a = tg_aead_new(TG_AEAD_XCHACHA20_POLY1305, key);
    tg_aead_seal_one(a, nonce, "hello", 5, out);
    assert_true(tg_aead_open(a, nonce, out, 5, out));
    assert_memory_equal(out, "hello", 5);
    tg_aead_seal_one(a, nonce, "hello", 5, out);
    out[2] ^= 1;
    assert_false(tg_aead_open(a, nonce, out, 5, out));
    tg_aead_free(a);
}

static void test_window(void **state)
{
    (void)state;
    struct tg_window w = { 0 };
    assert_true(tg_window_take(&w, 5));
    assert_false(tg_window_take(&w, 5));
    assert_true(tg_window_take(&w, 0));
    assert_true(tg_window_take(&w, 63));
    assert_true(tg_window_take(&w, 64));
    assert_false(tg_window_take(&w, 63));
    assert_true(tg_window_take(&w, 1900));
    assert_true(tg_window_take(&w, 6));
    assert_false(tg_window_take(&w, 64));
    assert_true(tg_window_take(&w, 100000));
    assert_false(tg_window_take(&w, 1901)); /* too old to tell */
    assert_true(tg_window_take(&w, 99999));
    assert_false(tg_window_take(&w, 99999));
    for (uint64_t i = 100001; i < 110000; i++) {
        assert_true(tg_window_take(&w, i));
        assert_false(tg_window_take(&w, i));
    }
    assert_false(tg_window_take(&w, UINT64_MAX));
}

static void test_replays(void **state)
{
    (void)state;
    struct tg_replay *r = tg_shared_get(TG_SHARED_REPLAY, "test", 4);
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 300000; i++)
            assert_true(tg_replay_salt(r, &(uint32_t[2]){ i, round }, 8, 1000 + 70000 * (uint64_t)round));
    assert_false(tg_replay_salt(r, &(uint32_t[2]){ 299999, 2 }, 8, 141000));
    assert_false(tg_replay_salt(r, &(uint32_t[2]){ 299999, 1 }, 8, 141000));
    assert_true(tg_replay_packet(r, "abcdefgh", 8, 0, 1000));
    assert_false(tg_replay_packet(r, "abcdefgh", 8, 0, 1000));
    assert_true(tg_replay_packet(r, "other", 5, 0, 1000));
    for (uint32_t i = 0; i < 70000; i++)
        assert_true(tg_replay_packet(r, &i, 4, 0, 2000));
    assert_false(tg_replay_packet(r, &(uint32_t){ 69999 }, 4, 0, 2000));
    tg_shared_put(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blake3),       cmocka_unit_test(test_subkeys),
        cmocka_unit_test(test_keys_refused), cmocka_unit_test(test_xchacha),
        cmocka_unit_test(test_window),       cmocka_unit_test(test_replays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
