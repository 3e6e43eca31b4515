#pragma once

/** @file
 * DNS messages (RFC 1035, EDNS0 RFC 6891) over ldns.
 *
 * ldns takes names and records apart and puts them together; what is done here is
 * to keep hostile messages away from it: records that do not end where they say,
 * and more of them than an answer ever needs, are refused before anything is
 * allocated for them.
 *
 * Errors have the layer "dns" and the codes TG_PROTOCOL (the message is broken),
 * TG_LIMIT (too long, too many) or TG_INVALID (a name, a type or a record of ours
 * makes no sense).
 */

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define TG_DNS_HEAD 12u
#define TG_DNS_MESSAGE_MAX 65535u
#define TG_DNS_RECORDS_MAX 1024u /**< of one message */
#define TG_DNS_QUERY_MAX 32u     /**< the same of a query: anybody may send one */
#define TG_DNS_WORD 32u          /**< enough for the text of a type, class or code */

enum tg_dns_section {
    TG_DNS_QUESTION,
    TG_DNS_ANSWER,
    TG_DNS_AUTHORITY,
    TG_DNS_ADDITIONAL,
    TG_DNS_SECTIONS,
};

/** The fixed part of a message. */
struct tg_dns_head {
    uint16_t id;
    uint8_t opcode;
    uint16_t rcode; /**< with the upper bits of EDNS0 */
    bool response, authoritative, truncated, recursion_desired, recursion_available;
    bool authentic, checking_disabled;
};

/** EDNS0, or the absence of it. */
struct tg_dns_edns {
    bool present;
    bool dnssec_ok;
    uint8_t version;
    uint16_t udp_size;
    const uint8_t *options; /**< code, length, data and so on; NULL: none */
    size_t options_len;
};

/** One record, or a question (which has no ttl and no data). */
struct tg_dns_record {
    const char *name; /**< with the final dot, odd bytes escaped as in zone files */
    uint16_t type, cls;
    uint32_t ttl;
    const char *data; /**< as in zone files; "" when empty */
};

/** A message taken apart or to be built. */
struct tg_dns_message;

/** Walk over a message: every record ends where it says and inside of it.
 * @return 0 or a code */
int tg_dns_check(const uint8_t *in, size_t len, struct tg_error *err);

/** Take a message apart.  @return it, to be freed | NULL */
struct tg_dns_message *tg_dns_parse(const uint8_t *in, size_t len, struct tg_error *err);

/** An empty message.  @return it, to be freed */
struct tg_dns_message *tg_dns_new(void);
/** NULL is allowed */
void tg_dns_free(struct tg_dns_message *m);

void tg_dns_get_head(const struct tg_dns_message *m, struct tg_dns_head *out);
void tg_dns_set_head(struct tg_dns_message *m, const struct tg_dns_head *head);
/** `options` points into the message. */
void tg_dns_get_edns(const struct tg_dns_message *m, struct tg_dns_edns *out);
/** Not present: none is sent.  A UDP size of 0 is sent as such.
 * @return 0, or TG_LIMIT for too many bytes of options */
int tg_dns_set_edns(struct tg_dns_message *m, const struct tg_dns_edns *edns, struct tg_error *err);

size_t tg_dns_count(const struct tg_dns_message *m, enum tg_dns_section section);
/** Describe a record; the texts are valid until the next call on this message.  @return 0 or a code */
int tg_dns_get(struct tg_dns_message *m, enum tg_dns_section section, size_t index,
               struct tg_dns_record *out, struct tg_error *err);
/** Add a record or question; a missing final dot is added to the name.  @return 0 or a code */
int tg_dns_add(struct tg_dns_message *m, enum tg_dns_section section,
               const struct tg_dns_record *record, struct tg_error *err);

/** Write a message.  One longer than `limit` is sent without records and marked truncated.
 * @return bytes, to be released with free(), their number in *len | NULL */
uint8_t *tg_dns_build(struct tg_dns_message *m, size_t limit, size_t *len, struct tg_error *err);

/** How long records live, see tg_dns_age(). */
struct tg_dns_ages {
    int64_t fixed;    /**< ≥ 0: every record gets this time to live */
    uint32_t passed;  /**< else these seconds are taken off … */
    uint32_t minimum; /**< … but this much stays */
};

/** Rewrite the times to live of a message in place.  @return 0 or a code */
int tg_dns_age(uint8_t *message, size_t len, const struct tg_dns_ages *ages, struct tg_error *err);

/** The client-subnet option (RFC 7871) for an address of 4 or 16 bytes: /24 or /128.
 * @return bytes written, at most 24 */
size_t tg_dns_subnet(const uint8_t *ip, size_t ip_len, uint8_t *out);

/** Words: "A", "AAAA", "TYPE1234"; "IN", "CLASS7"; "NOERROR", "RCODE99".  @return false: no such word */
bool tg_dns_type_of(const char *word, uint16_t *type);
bool tg_dns_class_of(const char *word, uint16_t *cls);
bool tg_dns_rcode_of(const char *word, uint16_t *rcode);
void tg_dns_type_word(uint16_t type, char out[TG_DNS_WORD]);
void tg_dns_class_word(uint16_t cls, char out[TG_DNS_WORD]);
void tg_dns_rcode_word(uint16_t rcode, char out[TG_DNS_WORD]);
